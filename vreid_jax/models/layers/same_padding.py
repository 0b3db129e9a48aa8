"""TensorFlow's SAME padding: ceil(extent / stride) outputs, the larger half of the border at the end."""

from __future__ import annotations

from jaxtyping import Array, Float

from vreid_jax.models.ops.conv3d_gradients import Padding, Triple
from vreid_jax.models.ops.pool import max_pool


def same_padding(extents: Triple, window: Triple, strides: Triple) -> Padding:
    """Return the padding of each axis that gives ceil(extent / stride) outputs; the larger half is at the end."""
    missing = (
        max((-(-extent // stride) - 1) * stride + size - extent, 0)
        for extent, size, stride in zip(extents, window, strides, strict=True)
    )
    before_after = tuple((total // 2, total - total // 2) for total in missing)
    return before_after[0], before_after[1], before_after[2]


def max_pool_same(x: Float[Array, "B T H W C"], window: Triple, strides: Triple) -> Float[Array, "B t h w C"]:
    """Max-pool with SAME padding; the border never wins."""
    return max_pool(x, window, strides, same_padding((x.shape[1], x.shape[2], x.shape[3]), window, strides))
