"""The gradients of a convolution over clips, in the form that CPU backends compute fast.

Input gradient: convolutions of stride 1, one for each phase of the strides. Kernel gradient: a matrix product for each
row of the kernel, in a loop, so that what a row reads stays in the processor's cache.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Triple = tuple[int, int, int]
Padding = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

ROWS_AT_ONCE = 4096
"""About how many rows a matrix product of the kernel gradient has: their copy fits the processor's cache."""


def native(x: Array, kernel: Array, strides: Triple, padding: Padding, dilation: Triple) -> Array:
    """Convolve by XLA's own operation."""
    return lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )


def pad(x: Array, padding: Iterable[tuple[int, int]]) -> Array:
    """Pad time, height and width with zeros; a negative border cuts off."""
    if not any(map(any, padding)):
        return x
    zero = jnp.zeros((), x.dtype)
    return lax.pad(x, zero, ((0, 0, 0), *((before, after, 0) for before, after in padding), (0, 0, 0)))


class _Phase(NamedTuple):
    """The taps of an axis that inputs of one remainder modulo the stride meet: every `step`th from `first` on."""

    first: int
    step: int
    count: int
    border: tuple[int, int]
    dilation: int


def _phase(remainder: int, extent: int, out: int, taps: int, stride: int, before: int, dilation: int) -> _Phase:
    """Find the taps of one phase.

    Input stride·m + remainder meets tap k of output m + (remainder + before - k·dilation) / stride, if that divides.
    """
    ks = [k for k in range(taps) if (remainder + before - k * dilation) % stride == 0]
    if not ks:
        return _Phase(0, 1, 0, (0, 0), 1)
    highest, lowest = ((remainder + before - k * dilation) // stride for k in (ks[0], ks[-1]))
    step = stride // math.gcd(stride, dilation)
    border = (-lowest, -(-extent // stride) + highest - out)
    return _Phase(ks[0], step, len(ks), border, step * dilation // stride)


def input_gradient(
    convolution: Callable[..., Array],
    g: Float[Array, "B t h w D"],
    kernel: Float[Array, "kt kh kw C D"],
    extents: Triple,
    strides: Triple,
    padding: Padding,
    dilation: Triple,
) -> Float[Array, "B T H W C"]:
    """Return the gradient with respect to an input of `extents` (time, height, width).

    It is made of calls `convolution(x, kernel, strides, padding, dilation)` with strides of 1.
    """
    axes = list(zip(extents, g.shape[1:4], kernel.shape[:3], strides, padding, dilation, strict=True))
    sizes = [-(-extent // stride) for extent, stride in zip(extents, strides, strict=True)]
    parts = []
    for remainders in itertools.product(*map(range, strides)):
        phases = [
            _phase(remainder, extent, out, taps, stride, border[0], step)
            for remainder, (extent, out, taps, stride, border, step) in zip(remainders, axes, strict=True)
        ]
        if not all(phase.count for phase in phases):
            parts.append(jnp.zeros((len(g), *sizes, kernel.shape[3]), g.dtype))
            continue
        some = kernel[tuple(slice(p.first, p.first + (p.count - 1) * p.step + 1, p.step) for p in phases)]
        # In this order: XLA fuses a flip right before a convolution into it, and oneDNN then takes neither.
        some = jnp.swapaxes(jnp.flip(some, (0, 1, 2)), 3, 4)
        # A convolution's padding is not negative: cuts come first.
        cut = pad(g, tuple((min(a, 0), min(b, 0)) for a, b in (p.border for p in phases)))
        border = tuple((max(a, 0), max(b, 0)) for a, b in (p.border for p in phases))
        parts.append(convolution(cut, some, (1, 1, 1), border, tuple(p.dilation for p in phases)))
    if len(parts) == 1:
        return parts[0]
    x = jnp.stack(parts).reshape(*strides, *parts[0].shape).transpose(3, 4, 0, 5, 1, 6, 2, 7)
    x = x.reshape(len(g), *(size * stride for size, stride in zip(sizes, strides, strict=True)), kernel.shape[3])
    return x[:, : extents[0], : extents[1], : extents[2]]


def kernel_gradient(
    x: Float[Array, "B T H W C"],
    g: Float[Array, "B t h w D"],
    taps: Triple,
    strides: Triple,
    padding: Padding,
    dilation: Triple,
) -> Float[Array, "kt kh kw C D"]:
    """Return the gradient with respect to a kernel of `taps` (time, height, width), float32."""
    if taps[0] == 1:  # frames are clips of one
        x = pad(x, (padding[0], (0, 0), (0, 0)))[:, :: strides[0]][:, : g.shape[1]]
        x, g = (a.reshape(a.shape[0] * a.shape[1], 1, *a.shape[2:]) for a in (x, g))
        strides, padding = (1, *strides[1:]), ((0, 0), *padding[1:])
    clips, rows = len(g), math.prod(g.shape[1:4])
    together = next(n for n in range(1, clips + 1) if clips % n == 0 and (n * rows >= ROWS_AT_ONCE or n == clips))
    if together == clips:
        return _of_all_taps(x, g, taps, strides, padding, dilation)

    def add(total, part):
        some_x, some_g = part
        return total + _of_all_taps(some_x, some_g, taps, strides, padding, dilation), None

    start = jnp.zeros((*taps, x.shape[-1], g.shape[-1]), jnp.float32)
    parts = tuple(a.reshape(clips // together, together, *a.shape[1:]) for a in (x, g))
    return lax.scan(add, start, parts)[0]


def _of_all_taps(x: Array, g: Array, taps: Triple, strides: Triple, padding: Padding, dilation: Triple) -> Array:
    """Return the kernel gradient of a few clips, a row of the kernel at a time."""
    x = pad(x, padding)
    kt, kh, kw = taps
    (b, *size, features), channels = g.shape, x.shape[-1]
    g = g.reshape(-1, features)
    read = [(n - 1) * stride + 1 for n, stride in zip(size, strides, strict=True)]

    def row(index):
        """Return the gradient of one row of the kernel, [kw C, D]."""
        start = (0, index // kh * dilation[0], index % kh * dilation[1], 0, 0)
        x_row = lax.dynamic_slice(x, start, (b, *read[:2], x.shape[3], channels))[:, :: strides[0], :: strides[1]]
        shifts = (k * dilation[2] for k in range(kw))
        windows = [lax.slice_in_dim(x_row, k, k + read[2], strides[2], axis=3) for k in shifts]
        columns = jnp.concatenate(windows, -1).reshape(-1, kw * channels)
        return lax.dot_general(columns, g, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)

    return lax.map(row, jnp.arange(kt * kh)).reshape(*taps, channels, features)
