"""Convolution over clips, and its gradients, in the forms that NVIDIA's cuDNN takes well.

XLA hands the gradient to a kernel to cuDNN as what it is, a backward filter, unless the convolution was dilated, or
unless one extent of the output is 3 or less and the strides are 1. In these cases it hands over a forward convolution
whose filter is the whole output gradient, up to 65,536 taps, which cuDNN is not made for. Kernels of clips meet both
cases often; as sums over frames and matrix products they meet neither. Kernels of one frame, or of one position, are
2-D convolutions, channels last, which took a third of the time of 3-D ones on an H200. A kernel over time that is
dilated is a matrix product: cuDNN took 40 to 76 ms for 24 clips of 8x128x64 with 64 channels, where the product for
the gradient to the kernel takes 0.5.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vreid_jax.models.ops.conv3d_gradients import Padding, Triple, native, pad

SMALL_EXTENT = 3
"""XLA takes a gradient to a kernel for an ordinary convolution when an extent of the output is at most this."""


def convolution(
    x: Float[Array, "B T H W C"],
    kernel: Float[Array, "kt kh kw C D"],
    strides: Triple,
    padding: Padding,
    dilation: Triple,
) -> Float[Array, "B t h w D"]:
    """Convolve in 2-D where the kernel has one frame or one position, as a matrix product where the latter is dilated."""
    if kernel.shape[0] == 1:
        return _frames(x, kernel, strides, padding, dilation)
    if kernel.shape[1:3] != (1, 1):
        return native(x, kernel, strides, padding, dilation)
    return (_product if dilation[0] > 1 else _positions)(x, kernel, strides, padding, dilation)


def gradients(
    x: Float[Array, "B T H W C"],
    kernel: Float[Array, "kt kh kw C D"],
    g: Float[Array, "B t h w D"],
    strides: Triple,
    padding: Padding,
    dilation: Triple,
) -> tuple[Float[Array, "B T H W C"], Float[Array, "kt kh kw C D"]]:
    """Return the gradients with respect to input and kernel; XLA drops whichever is not used."""
    geometry = {"strides": strides, "padding": padding, "dilation": dilation}
    to_input, to_kernel = jax.vjp(partial(convolution, **geometry), x, kernel)[1](g)
    plain = max(dilation) == 1 and (max(strides) > 1 or min(g.shape[1:4]) > SMALL_EXTENT)
    if kernel.shape[0] == 1 or plain:
        return to_input, to_kernel
    if kernel.shape[1:3] == (1, 1):
        return to_input, of_taps(x, g, len(kernel), **geometry).astype(kernel.dtype)
    return to_input, of_planes(x, kernel, g, **geometry)


def _frames(x: Array, kernel: Array, strides: Triple, padding: Padding, dilation: Triple) -> Array:
    """Convolve every frame in 2-D with a kernel of one frame."""
    x = pad(x, (padding[0], (0, 0), (0, 0)))
    if strides[0] > 1:
        x = lax.slice(x, (0,) * 5, x.shape, (1, strides[0], 1, 1, 1))
    b, t = x.shape[:2]
    y = _in_2d(x.reshape(b * t, *x.shape[2:]), kernel[0], strides[1:], padding[1:], dilation[1:])
    return y.reshape(b, t, *y.shape[1:])


def _positions(x: Array, kernel: Array, strides: Triple, padding: Padding, dilation: Triple) -> Array:
    """Convolve over time, in 2-D with all positions of a frame as the second axis."""
    x = _read(x, strides, padding)
    b, t, h, w, c = x.shape
    y = _in_2d(x.reshape(b, t, h * w, c), kernel[:, 0], (strides[0], 1), (padding[0], (0, 0)), (dilation[0], 1))
    return y.reshape(b, y.shape[1], h, w, y.shape[3])


def _product(x: Array, kernel: Array, strides: Triple, padding: Padding, dilation: Triple) -> Array:
    """Convolve over time by one matrix product, which sums over taps in float32: their inputs stand side by side."""
    x = pad(_read(x, strides, padding), (padding[0], (0, 0), (0, 0)))
    taps, reach = len(kernel), (len(kernel) - 1) * dilation[0]
    length = (x.shape[1] - reach - 1) // strides[0] + 1
    inputs = [_of_tap(x, tap * dilation[0], length, strides[0]) for tap in range(taps)]
    return lax.dot_general(jnp.concatenate(inputs, -1), kernel.reshape(-1, kernel.shape[-1]), (((4,), (0,)), ((), ())))


def _of_tap(x: Array, shift: int, length: int, stride: int) -> Array:
    """Return the frames that a tap over time reads."""
    x = lax.slice_in_dim(x, shift, shift + (length - 1) * stride + 1, stride, axis=1)
    return x if stride == 1 else lax.optimization_barrier(x)  # as `conv3d` does with strided points


def _in_2d(x: Array, kernel: Array, strides, padding, dilation) -> Array:
    dimensions = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=dimensions)


def _read(x: Array, strides: Triple, padding: Padding) -> Array:
    """Return the positions of frames that a kernel of one position reads."""
    x = pad(x, ((0, 0), *padding[1:]))
    return x if strides[1:] == (1, 1) else lax.slice(x, (0,) * 5, x.shape, (1, 1, *strides[1:], 1))


def of_taps(
    x: Float[Array, "B T H W C"],
    g: Float[Array, "B t h w D"],
    taps: int,
    strides: Triple,
    padding: Padding,
    dilation: Triple,
) -> Float[Array, "kt 1 1 C D"]:
    """Return the gradient of a kernel over time, float32: for each tap the product of what it read and `g`."""
    x = pad(_read(x, strides, padding), (padding[0], (0, 0), (0, 0)))
    rows = g.reshape(-1, g.shape[-1])
    found = []
    for shift in range(0, taps * dilation[0], dilation[0]):
        some = _of_tap(x, shift, g.shape[1], strides[0])
        contracted = (((0,), (0,)), ((), ()))
        product = lax.dot_general(some.reshape(-1, x.shape[-1]), rows, contracted, preferred_element_type=jnp.float32)
        found.append(product)
    return jnp.stack(found)[:, None, None]


def of_planes(
    x: Float[Array, "B T H W C"],
    kernel: Float[Array, "kt kh kw C D"],
    g: Float[Array, "B t h w D"],
    strides: Triple,
    padding: Padding,
    dilation: Triple,
) -> Float[Array, "kt kh kw C D"]:
    """Return the gradient of a kernel, a plane at a time: that of frames against frames."""
    x = pad(x, (padding[0], (0, 0), (0, 0)))
    geometry = {
        "strides": (1, *strides[1:]),
        "padding": ((0, 0), *padding[1:]),
        "dilation": (1, *dilation[1:]),
    }
    found = []
    for tap in range(len(kernel)):
        some = _of_tap(x, tap * dilation[0], g.shape[1], strides[0])
        plane = kernel[tap : tap + 1]
        found.append(jax.vjp(lambda plane, some=some: _frames(some, plane, **geometry), plane)[1](g)[0][0])
    return jnp.stack(found)
