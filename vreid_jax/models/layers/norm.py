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


class InstanceNorm(nn.Module):
    """Normalise every channel of every frame by its own mean and variance, in training and at test alike.

    The parameters `scale` and `bias` follow; statistics and normalisation are float32, the result is `dtype`.
    """

    epsilon: float = 1e-5
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        """Return the normalised frames."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        centred = x.astype(jnp.float32)
        centred = centred - centred.mean((2, 3), keepdims=True)
        variance = jnp.square(centred).mean((2, 3), keepdims=True)
        scale, bias = (values.reshape(1, 1, 1, 1, -1) for values in (scale, bias))
        return (centred * (scale / jnp.sqrt(variance + self.epsilon)) + bias).astype(self.dtype)


EPSILON = 1e-12
"""Under every root: a vector that is zero stays zero, and its gradient finite."""


def l2_normalize(x: Float[Array | np.ndarray, "... D"]) -> Float[Array, "... D"]:
    """Normalise vectors along the last axis to length 1, in float32; a zero vector stays zero, its gradient finite."""
    x = jnp.asarray(x, jnp.float32)
    return x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + EPSILON)
