"""A configuration file for tests: learned clip similarity whose backbone is one convolution, which compiles in a second."""

import runpy
from pathlib import Path

import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from vreid_jax import models
from vreid_jax.config import set_field
from vreid_jax.models import registry
from vreid_jax.models.layers.norm import BatchNorm

NUM_CLIPS, LENGTH = 3, 2
CONFIG = Path(__file__).parents[1] / "configs" / "clip_similarity.py"


class OneConvolution(nn.Module):
    width: int = 4
    dtype: str = "float32"

    @nn.compact
    def __call__(self, clips, train=False):
        x = nn.Conv(self.width, (1, 4, 4), (1, 4, 4), use_bias=False, name="conv")(clips)
        return {"pooled": jnp.abs(BatchNorm(not train, name="norm")(x)).mean((1, 2, 3))}


if "one_convolution" not in models.names():
    registry.register("one_convolution", OneConvolution, ("width", "dtype"), {})


def get_config(argument: str | None = None) -> ConfigDict:
    config = runpy.run_path(str(CONFIG))["get_config"](argument)
    for name, value in {
        "data.name": "walkers/tiny",
        "data.height": 32,
        "data.width": 16,
        "model.backbone": "one_convolution",
        "model.width": 6,
        "model.clip_length": LENGTH,
        "model.hidden": (5, 4),
        "phases.features.clip.length": LENGTH,
        "phases.similarity.clip.length": LENGTH,
        "phases.similarity.clip.num_clips": NUM_CLIPS,
        "evaluation.streams.clips.clip.length": LENGTH,
        "evaluation.streams.clips.clip.num_clips": NUM_CLIPS,
        "evaluation.batch_frames": 64,
        "evaluation.baselines": (),
        "phases.features.total_steps": 3,
        "phases.similarity.total_steps": 4,
        "logging.every_steps": 1,
        "logging.tensorboard": False,
        "logging.progress": False,
        "checkpoint.every_steps": 2,
    }.items():
        set_field(config, name, value)
    for phase in ("features", "similarity"):
        set_field(config, f"phases.{phase}.batch_size", 8)
        set_field(config, f"phases.{phase}.identities_per_batch", 4)
    return config
