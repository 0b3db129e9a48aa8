"""Convolution over clips, its implementation chosen by backend; every convolution of the library goes through here.

XLA's CPU backend is slow at 3-D convolutions unless it calls oneDNN, and at their gradients always. On CPU, kernels of
several frames are therefore left to oneDNN, with gradients that are written out (`conv3d_gradients`). Without oneDNN,
and for kernels of one frame, a convolution is a sum of 2-D convolutions over frames folded into the batch, whose kernel
gradient is written out, too, when it is large. On NVIDIA's GPUs the forms are those of `gpu`, where XLA knows them as
calls of cuDNN. Other backends run the native operation.
`benchmarks/conv3d.py` measures the cases.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vreid_jax.models.ops import gpu
from vreid_jax.models.ops.conv3d_gradients import Padding, Triple, input_gradient, kernel_gradient, native, pad
from vreid_jax.models.ops.onednn import has_onednn

NO_PADDING: Padding = ((0, 0), (0, 0), (0, 0))

LARGE = 2**28
"""Kernel gradients of at least this many multiplications are written out; XLA's own are as fast below."""

he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_inlined = partial(jax.jit, static_argnums=(2, 3, 4), inline=True)


def conv3d(
    x: Float[Array, "B T H W C"],
    kernel: Float[Array, "kt kh kw C D"],
    strides: Triple = (1, 1, 1),
    padding: Padding = NO_PADDING,
    dilation: Triple = (1, 1, 1),
) -> Float[Array, "B t h w D"]:
    """Return the cross-correlation of clips with `kernel`.

    Strides, padding and dilation are those of (time, height, width). Only reverse-mode derivatives exist: the gradients
    have formulas of their own on CPU.
    """
    if kernel.shape[:3] == (1, 1, 1):
        # A point kernel reads a subset of positions; with the subset taken first, the gradients are matrix products.
        # Indexing in place of `slice` would become a gather where an export leaves the batch open.
        x = pad(x, padding)
        if strides != (1, 1, 1):
            x = _written(lax.slice(x, (0,) * 5, x.shape, (1, *strides, 1)))
        return _point(x, kernel[0, 0, 0])
    return _convolution(x, kernel, strides, padding, dilation)


@jax.custom_vjp
def _written(x: Array) -> Array:
    """Return `x`; on NVIDIA's GPUs XLA does not fuse what made it into what reads it.

    Fusing a strided slice into the matrix product of a point kernel's gradient ends the process in jaxlib 0.11.2:
    "Check failed: subdim_size_accumulator == dim_size".
    """
    return lax.platform_dependent(x, cuda=lax.optimization_barrier, default=lambda x: x)


_written.defvjp(lambda x: (_written(x), None), lambda _, g: (g,))


@jax.custom_vjp
def _point(x: Array, kernel: Array) -> Array:
    """Multiply the channels of every position by `kernel` [C, D]."""
    return lax.dot_general(x, kernel, (((4,), (0,)), ((), ())))


def _point_backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    rows, g_rows = (a.reshape(-1, a.shape[-1]) for a in (x, g))
    # JAX would put `g` first and transpose the product; XLA's CPU backend then copies the larger of the two by columns.
    to_kernel = lax.dot_general(rows, g_rows, (((0,), (0,)), ((), ())))
    return lax.dot_general(g, kernel, (((4,), (1,)), ((), ()))), to_kernel


_point.defvjp(lambda x, kernel: (_point(x, kernel), (x, kernel)), _point_backward)


def _by_onednn(kernel: Array) -> bool:
    """Tell whether convolutions with this kernel are left to oneDNN."""
    # Kernels of one frame stay 2-D convolutions: oneDNN is a tenth faster at full size and takes three times as long
    # where channels are few.
    return kernel.shape[0] > 1 and has_onednn()


@_inlined
def _forward(x: Array, kernel: Array, strides: Triple, padding: Padding, dilation: Triple) -> Array:
    """Convolve in the way that suits the platform the program is compiled for."""
    geometry = {"strides": strides, "padding": padding, "dilation": dilation}
    on_cpu = partial(native if _by_onednn(kernel) else _folded, **geometry)
    on_cuda, plain = partial(gpu.convolution, **geometry), partial(native, **geometry)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, cuda=on_cuda, default=plain)


@_inlined
def _backward(
    x: Array, kernel: Array, strides: Triple, padding: Padding, dilation: Triple, g: Array
) -> tuple[Array, Array]:
    """Return the gradients with respect to input and kernel, in the way that suits the platform."""
    geometry = {"strides": strides, "padding": padding, "dilation": dilation}

    def of(forward, x, kernel, g):
        return jax.vjp(partial(forward, **geometry), x, kernel)[1](g)

    def on_cpu(x, kernel, g):
        to_input, to_kernel = of(_folded, x, kernel, g)  # XLA drops whichever is not used
        if _by_onednn(kernel):
            to_input = input_gradient(_forward, g, kernel, x.shape[1:4], **geometry)
        if _by_onednn(kernel) or g.size * math.prod(kernel.shape[:4]) >= LARGE:
            to_kernel = kernel_gradient(x, g, kernel.shape[:3], **geometry).astype(kernel.dtype)
        return to_input, to_kernel

    on_cuda = partial(gpu.gradients, **geometry)
    return lax.platform_dependent(x, kernel, g, cpu=on_cpu, cuda=on_cuda, default=partial(of, native))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolution(x: Array, kernel: Array, strides: Triple, padding: Padding, dilation: Triple) -> Array:
    return _forward(x, kernel, strides, padding, dilation)


def _convolution_forward(x, kernel, strides, padding, dilation):
    return _forward(x, kernel, strides, padding, dilation), (x, kernel)


def _convolution_backward(strides, padding, dilation, residuals, g):
    return _backward(*residuals, strides, padding, dilation, g)


_convolution.defvjp(_convolution_forward, _convolution_backward)


def _folded(x: Array, kernel: Array, *, strides: Triple, padding: Padding, dilation: Triple) -> Array:
    """Compute by 2-D convolutions alone: of frames, of (time, all positions), or a sum with one per temporal tap."""
    x = pad(x, padding)
    kt, kh, kw = kernel.shape[:3]
    if kt == 1:
        return _frames(x[:, :: strides[0]], kernel[0], strides[1:], dilation[1:])
    if kh == kw == 1:
        x = x[:, :, :: strides[1], :: strides[2]]
        b, t, h, w, c = x.shape
        y = _frames(x.reshape(b, 1, t, h * w, c), kernel[:, 0], (strides[0], 1), (dilation[0], 1))
        return y.reshape(b, y.shape[2], h, w, y.shape[4])
    length = (x.shape[1] - (kt - 1) * dilation[0] - 1) // strides[0] + 1
    total = jnp.zeros((), x.dtype)
    for tap, plane in enumerate(kernel):
        start = tap * dilation[0]
        window = lax.slice_in_dim(x, start, start + (length - 1) * strides[0] + 1, strides[0], axis=1)
        total = total + _frames(window, plane, strides[1:], dilation[1:])
    return total


def _frames(x: Array, kernel: Array, strides: tuple[int, int], dilation: tuple[int, int]) -> Array:
    """Convolve every frame in 2-D."""
    if kernel.shape[:2] == (1, 1):
        return lax.dot_general(x[:, :, :: strides[0], :: strides[1]], kernel[0, 0], (((4,), (0,)), ((), ())))
    b, t, h, w = x.shape[:4]
    extents = [(taps - 1) * step + 1 for taps, step in zip(kernel.shape[:2], dilation, strict=True)]
    size = [(n - extent) // stride + 1 for n, extent, stride in zip((h, w), extents, strides, strict=True)]
    folded = x.reshape(b * t, h, w, x.shape[4])
    if math.prod(size) < math.prod(kernel.shape[:2]):
        y = _patches(folded, kernel, size, strides, dilation)
    else:
        y = lax.conv_general_dilated(
            folded, kernel, strides, "VALID", rhs_dilation=dilation, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    return y.reshape(b, t, *y.shape[1:])


def _patches(x: Array, kernel: Array, size: list[int], strides: tuple[int, int], dilation: tuple[int, int]) -> Array:
    """Compute the convolution as one matrix product of gathered patches.

    Where the map is smaller than the kernel (3x3 over 4x2, the end of a small network), the native convolution is
    10-100x slower: 37 ms against 1 ms for [128, 4, 2, 128] to 128 channels.
    """
    columns = []
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            starts = (i * dilation[0], j * dilation[1])
            stops = [s + (n - 1) * stride + 1 for s, n, stride in zip(starts, size, strides, strict=True)]
            columns.append(x[:, starts[0] : stops[0] : strides[0], starts[1] : stops[1] : strides[1]])
    return jnp.concatenate(columns, -1) @ kernel.reshape(-1, kernel.shape[-1])


class Conv(nn.Module):
    """A convolution: a `kernel_size` of two extents is 2-D and acts on frames, one of three is 3-D.

    The parameter `kernel` is [kh, kw, C, D] or [kt, kh, kw, C, D]; with `use_bias` there is a `bias` [D]. Both are
    float32, and the result is computed in `dtype`.
    """

    features: int
    kernel_size: tuple[int, ...]
    strides: Triple = (1, 1, 1)
    padding: Padding = NO_PADDING
    dilation: Triple = (1, 1, 1)
    dtype: str = "float32"
    kernel_init: nn.initializers.Initializer = he_fan_out
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B t h w D"]:
        """Convolve clips; the channels are the last axis."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        if len(self.kernel_size) == 2:
            kernel = kernel[None]
        dtype = jnp.dtype(self.dtype)
        y = conv3d(x.astype(dtype), kernel.astype(dtype), self.strides, self.padding, self.dilation)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(dtype).reshape(1, 1, 1, 1, -1)
        return y


def spatial_padding(size: int) -> Padding:
    """Return the padding that keeps height and width at stride 1 under an odd kernel of `size`, as PyTorch pads."""
    return clip_padding(1, size)


def clip_padding(length: int, size: int) -> Padding:
    """Return the padding that keeps all extents at stride 1 under a kernel of `length` x `size` x `size`, both odd."""
    time, half = length // 2, size // 2
    return ((time, time), (half, half), (half, half))
