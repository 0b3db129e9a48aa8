"""Finding out whether XLA calls oneDNN for 3-D convolutions on CPU; `runtime.xla_flags` asks for it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax


@functools.cache
def has_onednn() -> bool:
    """Return whether XLA compiles 3-D convolutions on CPU to calls of oneDNN: a small one is compiled to see.

    False where JAX has no CPU backend (JAX_PLATFORMS=cuda or tpu).
    """

    def convolution(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))

    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # "Unknown backend cpu"
        return False
    with jax.default_device(device):
        x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 4, 8, 8, 16), (3, 3, 3, 16, 16)))
        program = jax.jit(convolution).lower(x, kernel).compile().as_text()
        return program is not None and '"__onednn$' in program
