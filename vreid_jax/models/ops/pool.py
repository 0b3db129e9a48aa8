"""Max-pooling over time, height and width, its implementation chosen by backend."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vreid_jax.models.ops.conv3d_gradients import Padding, Triple


def max_pool_blocks(x: Float[Array, "B T H W C"], block: Triple) -> Float[Array, "B t h w C"]:
    """Return the largest value of every (time, height, width) block, stride = block; incomplete blocks are left out.

    It is a reshape and a maximum: the gradient of the native pooling is a scatter, which XLA's CPU backend runs an
    order of magnitude slower.
    """
    b, c = x.shape[0], x.shape[4]
    counts = [extent // size for extent, size in zip(x.shape[1:4], block, strict=True)]
    t, h, w = (count * size for count, size in zip(counts, block, strict=True))
    parts = [part for pair in zip(counts, block, strict=True) for part in pair]
    return x[:, :t, :h, :w].reshape(b, *parts, c).max((2, 4, 6))


def mean_pool_2x2(x: Float[Array, "B T H W C"]) -> Float[Array, "B T h w C"]:
    """Return the mean of every 2x2 block of frames, in float32; an odd last row or column is left out."""
    b, t, h, w, c = x.shape
    blocks = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(b, t, h // 2, 2, w // 2, 2, c)
    return blocks.astype(jnp.float32).mean((3, 5)).astype(x.dtype)


def max_pool(
    x: Float[Array, "B T H W C"], window: Triple, strides: Triple, padding: Padding
) -> Float[Array, "B t h w C"]:
    """Return the largest value of every window; the border never wins, and of equal values the first has the gradient.

    On CPU it is a maximum of shifted slices, axis after axis: the gradient of the native pooling is a scatter, one to
    two orders of magnitude slower there. On NVIDIA's GPUs, too, the gradient goes without it.
    """
    return _max_pool(x, window, strides, padding)


def max_pool_3x3_stride2(x: Float[Array, "B T H W C"]) -> Float[Array, "B T h w C"]:
    """Max-pool frames over 3x3 at stride 2 with padding 1."""
    return max_pool(x, (1, 3, 3), (1, 2, 2), ((0, 0), (1, 1), (1, 1)))


def max_pool_3x3_stride2_ceil(x: Float[Array, "B T H W C"]) -> Float[Array, "B T h w C"]:
    """Max-pool frames over 3x3 at stride 2 without padding; a last window may stick out by one (PyTorch's `ceil_mode`)."""
    height, width = (2 * max(extent // 2, 1) + 1 - extent for extent in x.shape[2:4])
    return max_pool(x, (1, 3, 3), (1, 2, 2), ((0, 0), (0, height), (0, width)))


def max_pool_3_in_time(x: Float[Array, "B T H W C"], stride: int) -> Float[Array, "B t H W C"]:
    """Max-pool over three frames with padding 1; t = ceil(T / stride)."""
    return max_pool(x, (3, 1, 1), (stride, 1, 1), ((1, 1), (0, 0), (0, 0)))


@partial(jax.jit, static_argnums=(1, 2, 3), inline=True)
def _forward(x: Array, window: Triple, strides: Triple, padding: Padding) -> Array:
    ours = partial(_shifted, window=window, strides=strides, padding=padding)
    return lax.platform_dependent(
        x, cpu=lambda x: ours(x)[-1], default=partial(_native, window=window, strides=strides, padding=padding)
    )


@partial(jax.jit, static_argnums=(1, 2, 3), inline=True)
def _backward(x: Array, window: Triple, strides: Triple, padding: Padding, g: Array) -> Array:
    def plain(x, g):
        return jax.vjp(partial(_native, window=window, strides=strides, padding=padding), x)[1](g)[0]

    def ours(x, g):
        return without_scatter(x, window, strides, padding, g)

    return lax.platform_dependent(x, g, cpu=ours, cuda=ours, default=plain)


def without_scatter(x: Array, window: Triple, strides: Triple, padding: Padding, g: Array) -> Array:
    """Return the gradient of the pooling with respect to `x`: an axis after the other, with shifted slices."""
    inputs = _shifted(x, window, strides, padding)
    for axis, value in reversed(list(zip(_axes(window), inputs, strict=False))):
        g = _axis_gradient(value, g, axis, window[axis - 1], strides[axis - 1], padding[axis - 1])
    return g


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: Array, window: Triple, strides: Triple, padding: Padding) -> Array:
    return _forward(x, window, strides, padding)


_max_pool.defvjp(
    lambda x, *plan: (_forward(x, *plan), x),
    lambda window, strides, padding, x, g: (_backward(x, window, strides, padding, g),),
)


def _native(x: Array, window: Triple, strides: Triple, padding: Padding) -> Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), ((0, 0), *padding, (0, 0)))


def _axes(window: Triple) -> list[int]:
    # Width first: the winner among equals is then the first in (time, height, width), as in the native pooling.
    return [axis for axis in (3, 2, 1) if window[axis - 1] > 1]


def _shifted(x: Array, window: Triple, strides: Triple, padding: Padding) -> list[Array]:
    """Return the input and what it becomes after each axis."""
    values = [x]
    for axis in _axes(window):
        slices = _slices(values[-1], axis, window[axis - 1], strides[axis - 1], padding[axis - 1])
        largest = slices[0]
        for each in slices[1:]:
            largest = jnp.maximum(largest, each)
        values.append(largest)
    return values


def _slices(x: Array, axis: int, size: int, stride: int, border: tuple[int, int]) -> list[Array]:
    """Return, for each of the `size` places in a window, what all windows have there."""
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (*border, 0)
    x = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), config)
    last = (x.shape[axis] - size) // stride * stride
    return [lax.slice_in_dim(x, shift, last + shift + 1, stride, axis=axis) for shift in range(size)]


def _axis_gradient(x: Array, g: Array, axis: int, size: int, stride: int, border: tuple[int, int]) -> Array:
    """Send each value of `g` to the first of the largest values in its window."""
    slices = _slices(x, axis, size, stride, border)
    first, largest = jnp.zeros(g.shape, jnp.int8), slices[0]
    for shift, each in enumerate(slices[1:], start=1):
        first = jnp.where(each > largest, jnp.int8(shift), first)
        largest = jnp.maximum(largest, each)
    zero = jnp.zeros((), g.dtype)
    total = jnp.zeros(x.shape, g.dtype)
    for shift in range(size):
        config = [(0, 0, 0)] * g.ndim
        before = shift - border[0]
        covered = before + (g.shape[axis] - 1) * stride + 1
        config[axis] = (before, x.shape[axis] - covered, stride - 1)
        total = total + lax.pad(jnp.where(first == shift, g, zero), zero, config)
    return total
