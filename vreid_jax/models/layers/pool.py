"""Max-pooling over blocks that do not overlap."""

from __future__ import annotations

from jax import Array
from jaxtyping import Float

from vreid_jax.models.layers.conv3d import Triple


def max_pool_blocks(x: Float[Array, "B T H W C"], block: Triple) -> Float[Array, "B t h w C"]:
    """Largest value of every (time, height, width) block, stride = block; what does not fill a block is left out.

    A reshape: the gradient of the native pooling is a scatter that XLA's CPU backend runs an order of magnitude slower.
    """
    b, c = x.shape[0], x.shape[4]
    counts = [extent // size for extent, size in zip(x.shape[1:4], block, strict=True)]
    t, h, w = (count * size for count, size in zip(counts, block, strict=True))
    parts = [part for pair in zip(counts, block, strict=True) for part in pair]
    return x[:, :t, :h, :w].reshape(b, *parts, c).max((2, 4, 6))
