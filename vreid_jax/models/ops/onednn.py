"""oneDNN behind XLA's 3-D convolutions on CPU: asking for it, and finding out whether it is there.

XLA has it behind a flag that is read once, when the first computation is compiled. With it a 3-D convolution runs three
to five times faster.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import sys

import jax
import jax.numpy as jnp
import jaxlib
from jax import lax

FLAG = "--xla_cpu_experimental_onednn_custom_call"
SINCE = (0, 8)  # earlier versions abort on a flag that they do not know
ACCELERATORS = ("libtpu", "jax_plugins")


def request_onednn() -> None:
    """Appends the flag to XLA_FLAGS, where this JAX knows it and it can be of use.

    Without effect once anything has been computed. What XLA_FLAGS says already stays, a value of this flag included.
    Nothing is added where a plugin of an accelerator is installed, which may not know the flag, unless JAX_PLATFORMS is
    "cpu"; and nothing where JAX_COMPILATION_CACHE_DIR is set: JAX 0.12 fails to write programs that call oneDNN.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    only_cpu = os.environ.get("JAX_PLATFORMS") == "cpu" or not any(map(importlib.util.find_spec, ACCELERATORS))
    known = sys.platform == "linux" and platform.machine() == "x86_64" and jaxlib.version.__version_info__ >= SINCE
    cached = bool(os.environ.get("JAX_COMPILATION_CACHE_DIR"))
    if known and only_cpu and not cached and FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}=true".strip()


@functools.cache
def has_onednn() -> bool:
    """Whether XLA compiles 3-D convolutions on CPU to calls of oneDNN: a small one is compiled to see."""

    def convolution(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))

    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 4, 8, 8, 16), (3, 3, 3, 16, 16)))
        return '"__onednn$' in jax.jit(convolution).lower(x, kernel).compile().as_text()
