"""Statistics pooling: a system in one file, network and configuration.

A small network sees every frame alone. What a tracklet is described by is the mean over time of what it saw, and the
standard deviation, which knows how much somebody moves. Speaker recognition pools frames of speech like this.

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
    """Four convolutions on every frame, mean and standard deviation over time, an identity head."""

    num_classes: int = 0
    width: int = 16
    feature_size: int = 64
    dropout: float = 0.0

    @nn.compact
    def __call__(self, clips, train: bool = False):
        """`statistics` [B, 2C], `feature` [B, D] and, with classes, `logits` of normalised `clips` [B, T, H, W, 3]."""
        x = clips
        for number, width in enumerate((1, 2, 4, 4)):
            conv = nn.Conv(width * self.width, (3, 3), (2, 2), padding=1, use_bias=False, name=f"conv{number}")
            x = nn.relu(BatchNorm(not train, name=f"norm{number}")(conv(x)))
        frames = x.mean((2, 3))
        statistics = jnp.concatenate([frames.mean(1), jnp.sqrt(frames.var(1) + 1e-5)], -1)
        scale = self.param("scale", nn.initializers.ones, (statistics.shape[-1],))
        head = IdentityHead(self.feature_size, self.num_classes, self.dropout, name="head")
        return {"statistics": statistics, **head(scale[None] * statistics, train)}

    @nn.nowrap
    def similarity(self, query, gallery):
        """[Q, G] of sets of clips [Q, M, D] and [G, N, D]: every clip of the query finds its best one; their mean."""
        query, gallery = (x / jnp.sqrt((x * x).sum(-1, keepdims=True) + 1e-12) for x in (query, gallery))
        cosines = jnp.einsum("qmd,gnd->qgmn", query, gallery, precision="highest")
        return cosines.max(-1).mean(-1)


def prepare(phase, state, batches):
    """Before the phase: a scale that gives every statistic the deviation 1 over ten batches, so that none is drowned."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    describe = jax.jit(lambda frames: state.network(variables, frames)["statistics"])
    seen = np.concatenate([describe(batch["frames"]) for batch in batches(10)])
    seen = multihost_utils.process_allgather(seen, tiled=True)  # every process has a part of each batch
    return state.replace(params={**state.params, "scale": jnp.asarray(1 / (seen.std(0) + 1e-3))})


if "statistics_pooling" not in models.names():  # the file is read again where a command line is to be explained
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
    """The run: one phase, and at test four clips of every tracklet, kept apart for `similarity`."""
    dataset, changes = parse_argument(argument)
    config = default("statistics_pooling", dataset)
    config.model = {"name": "statistics_pooling", "width": 16, "feature_size": 64, "dropout": 0.0}
    config.data.height, config.data.width, config.data.num_threads = 64, 32, 2
    config.phase_order = ("clips",)
    config.phases = {
        "clips": phase(
            sampler="identity",
            batch_size=32,
            identities_per_batch=8,
            clip={"kind": "consecutive", "length": 8},
            augment={"flip": 0.5, "enlarge_crop": 0.5},
            losses={"softmax": {"weight": 1.0}, "triplet": {"weight": 1.0, "margin": 0.3}},
            optimizer={"name": "adam", "learning_rate": 3e-3, "weight_decay": 0.0},
            schedule={"name": "step", "boundaries": (0.7, 0.9)},
            total_steps=600,
        )
    }
    config.evaluation.streams = {"clips": evaluation_stream("evenly", 8, {}, num_clips=4, average=False)}
    return finish(config, changes)
