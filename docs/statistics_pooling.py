"""Statistics pooling: a system in one file, network and configuration.

A small network sees every frame alone. A tracklet is described by the mean over time of what
the network saw, and by the standard deviation, which captures how much a person moves.
Speaker recognition pools frames of speech in the same way.

    python3 -m vreid_jax.main --config=docs/statistics_pooling.py
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from vreid_jax import models
from vreid_jax.config import default, evaluation_stream, finish, parse_argument, phase
from vreid_jax.models import registry
from vreid_jax.models.layers.heads import IdentityHead
from vreid_jax.models.layers.norm import BatchNorm


class StatisticsPooling(nn.Module):
    """Four convolutions per frame, mean and deviation over time, an identity head."""

    num_classes: int = 0
    width: int = 16
    feature_size: int = 64
    dropout: float = 0.0

    @nn.compact
    def __call__(self, clips, train: bool = False):
        """Map normalised `clips` [B, T, H, W, 3] to a mapping.

        It has `statistics` [B, 2C], `feature` [B, D] and, with classes, `logits`.
        """
        x = clips
        for number, width in enumerate((1, 2, 4, 4)):
            conv = nn.Conv(
                width * self.width,
                (3, 3),
                strides=(2, 2),
                padding=1,
                use_bias=False,
                name=f"conv{number}",
            )
            x = nn.relu(BatchNorm(not train, name=f"norm{number}")(conv(x)))
        frames = x.mean((2, 3))
        deviation = jnp.sqrt(frames.var(1) + 1e-5)
        statistics = jnp.concatenate([frames.mean(1), deviation], -1)
        size = statistics.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (size,))
        head = IdentityHead(
            self.feature_size,
            self.num_classes,
            self.dropout,
            name="head",
        )
        return {"statistics": statistics, **head(scale[None] * statistics, train)}

    @nn.nowrap
    def similarity(self, query, gallery):
        """Compare sets of clips [Q, M, D] and [G, N, D]; returns [Q, G].

        Each clip of the query is matched with its most similar clip of the gallery
        tracklet, and the cosines are averaged.
        """

        def normalised(x):
            return x / jnp.sqrt((x * x).sum(-1, keepdims=True) + 1e-12)

        query, gallery = normalised(query), normalised(gallery)
        cosines = jnp.einsum("qmd,gnd->qgmn", query, gallery, precision="highest")
        return cosines.max(-1).mean(-1)


def prepare(phase, state, batches):
    """Scale every statistic to deviation 1 over ten batches, so that none dominates."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    describe = jax.jit(lambda frames: state.network(variables, frames)["statistics"])
    seen = np.concatenate([describe(batch["frames"]) for batch in batches(10)])
    # Each process holds its part of every batch.
    seen = multihost_utils.process_allgather(seen, tiled=True)
    scale = jnp.asarray(1 / (seen.std(0) + 1e-3))
    return state.replace(params={**state.params, "scale": scale})


# The file may be read more than once, e.g. to explain an error in a command line.
if "statistics_pooling" not in models.names():
    registry.register(
        "statistics_pooling",
        StatisticsPooling,
        ("num_classes", "width", "feature_size", "dropout"),
        {},
        input_size=(64, 32),
        prepare=prepare,
        similarity=StatisticsPooling.similarity,
    )


def get_config(argument: str | None = None) -> ConfigDict:
    """Return a configuration of one phase, evaluated on four clips per tracklet."""
    dataset, changes = parse_argument(argument)
    config = default("statistics_pooling", dataset)
    config.model = {
        "name": "statistics_pooling",
        "width": 16,
        "feature_size": 64,
        "dropout": 0.0,
    }
    config.data.height, config.data.width, config.data.num_threads = 64, 32, 2
    config.phase_order = ("clips",)
    config.phases = {
        "clips": phase(
            sampler="identity",
            batch_size=32,
            identities_per_batch=8,
            clip={"kind": "consecutive", "length": 8},
            augment={"flip": 0.5, "enlarge_crop": 0.5},
            losses={
                "softmax": {"weight": 1.0},
                "triplet": {"weight": 1.0, "margin": 0.3},
            },
            optimizer={"name": "adam", "learning_rate": 3e-3, "weight_decay": 0.0},
            schedule={"name": "step", "boundaries": (0.7, 0.9)},
            total_steps=600,
        )
    }
    stream = evaluation_stream("evenly", 8, {}, num_clips=4, average=False)
    config.evaluation.streams = {"clips": stream}
    return finish(config, changes)
