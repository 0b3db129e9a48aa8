"""TensorFlow's SAME: as many outputs as strides fit, the missing border added with more at the end."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vreid_jax.models.layers.conv3d import Padding, Triple


def same_padding(extents: Triple, window: Triple, strides: Triple) -> Padding:
    """Padding of each axis for ceil(extent / stride) outputs; of an odd border the larger half is at the end."""
    missing = (
        max((-(-extent // stride) - 1) * stride + size - extent, 0)
        for extent, size, stride in zip(extents, window, strides, strict=True)
    )
    before_after = tuple((total // 2, total - total // 2) for total in missing)
    return before_after[0], before_after[1], before_after[2]


def max_pool_same(x: Float[Array, "B T H W C"], window: Triple, strides: Triple) -> Float[Array, "B t h w C"]:
    """Max-pooling with SAME padding, axis after axis as maxima of shifted slices.

    The border never wins. The gradient of the native pooling is a scatter that XLA's CPU backend runs one to two orders
    slower; where several values of a window tie, it is shared between them here.
    """
    padding = same_padding((x.shape[1], x.shape[2], x.shape[3]), window, strides)
    for axis, (size, stride, border) in enumerate(zip(window, strides, padding, strict=True), start=1):
        if size > 1:
            x = _pool_axis(x, axis, size, stride, border)
    return x


def _pool_axis(x: Array, axis: int, size: int, stride: int, border: tuple[int, int]) -> Array:
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (*border, 0)
    x = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), config)
    last = x.shape[axis] - size
    pooled = lax.slice_in_dim(x, 0, last + 1, stride, axis=axis)
    for shift in range(1, size):
        pooled = jnp.maximum(pooled, lax.slice_in_dim(x, shift, last + shift + 1, stride, axis=axis))
    return pooled
