"""Normalisation as every network here uses it: of batches, and of vectors to length 1."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

# Statistics and the normalisation itself are float32 whatever the compute dtype; under jit on a mesh they are global
# over the batch, so no axis name is given.
BatchNorm = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5, axis_name=None)

EPSILON = 1e-12
"""Under every root: a vector that is zero stays zero, and its gradient finite."""


def l2_normalize(x: Float[Array | np.ndarray, "... D"]) -> Float[Array, "... D"]:
    """Normalise vectors along the last axis to length 1, in float32; a zero vector stays zero, its gradient finite."""
    x = jnp.asarray(x, jnp.float32)
    return x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + EPSILON)
