"""A configuration file for tests: a two-stream network of two convolutions that compiles in a second.

It goes the way of a real system (two phases, batch norm, dropout, a `prepare`), so that restarts, devices and the
command line can be tested without waiting for a real network.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from vreid_jax import models
from vreid_jax.config import default, evaluation_stream, finish, parse_argument, phase
from vreid_jax.errors import InputError
from vreid_jax.models import registry
from vreid_jax.models.layers.heads import IdentityHead
from vreid_jax.models.layers.norm import BatchNorm


class ToyStream(nn.Module):
    num_classes: int
    dropout: float
    motion: bool
    width: int

    @nn.compact
    def __call__(self, clips, train=False):
        if self.motion:
            clips = clips - clips.mean(1, keepdims=True)
        x = nn.Conv(self.width, (1, 4, 4), (1, 4, 4), use_bias=False, name="conv")(clips)
        x = jnp.abs(BatchNorm(not train, name="norm")(x))
        return IdentityHead(8, self.num_classes, self.dropout, name="head")(x.mean((2, 3)), train)


class ToyTwoStream(nn.Module):
    num_classes: int = 0
    dropout: registry.Dropout = 0.5
    width: registry.Size = 4

    @nn.compact
    def __call__(self, clips, train=False, stream=None):
        if stream not in (None, "spatial", "temporal"):
            raise InputError(f"stream is {stream!r}, expected spatial or temporal, or None for both")
        outputs = {}
        for name in ("spatial", "temporal"):
            if stream in (None, name):
                motion = name == "temporal"
                own = ToyStream(self.num_classes, self.dropout, motion, self.width, name=name)
                outputs[name] = own(clips, train)
        if stream is not None:
            return outputs[stream]
        feature = jnp.concatenate([part["feature"] for part in outputs.values()], -1)
        return {"feature": feature, "logits": outputs["temporal"]["logits"]}


def prepare(phase, state, batches):
    """Start the temporal stream from the spatial one, as the M3D system does."""
    if phase != "temporal":
        return state
    start = {
        name: {**tree, "temporal": jax.tree.map(jnp.copy, tree["spatial"])}
        for name, tree in (("params", state.params), ("batch_stats", state.batch_stats))
    }
    return state.replace(**start)


if "toy" not in models.names():
    registry.register(
        "toy",
        ToyTwoStream,
        ("num_classes", "dropout", "width"),
        {},
        input_size=(32, 16),
        prepare=prepare,
    )


def get_config(argument: str | None = None) -> ConfigDict:
    dataset, changes = parse_argument(argument)
    config = default("toy", dataset)
    config.model = {"name": "toy", "dropout": 0.5, "width": 4}
    if dataset == "walkers":
        config.data.name = "walkers/tiny"
    config.data.height, config.data.width, config.data.num_threads = 32, 16, 2
    config.phase_order = ("spatial", "temporal")
    config.phases = {
        "spatial": phase(
            sampler="frames",
            batch_size=8,
            clip={"kind": "random", "length": 1, "stride": 1},
            augment={"flip": 0.5, "enlarge_crop": 0.5},
            apply={"stream": "spatial"},
            train=("spatial/.*",),
            schedule={"name": "step", "boundaries": (0.5,)},
            total_steps=4,
        ),
        "temporal": phase(
            sampler="identity",
            batch_size=8,
            identities_per_batch=4,
            clip={"kind": "consecutive", "length": 2, "stride": 1},
            apply={"stream": "temporal"},
            losses={"triplet": {"weight": 1.0}},
            optimizer={"name": "amsgrad", "learning_rate": 1e-3},
            train=("temporal/.*",),
            total_steps=4,
        ),
    }
    config.evaluation.streams = {
        "spatial": evaluation_stream("all", 1, {"stream": "spatial"}),
        "temporal": evaluation_stream("all", 2, {"stream": "temporal"}),
    }
    config.evaluation.batch_frames = 64
    config.logging = {"every_steps": 1, "tensorboard": False, "progress": False}
    config.checkpoint = {"every_steps": 2, "every_minutes": 0.0, "keep": 3}
    return finish(config, changes)
