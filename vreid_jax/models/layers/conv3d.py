"""The one door of convolutions over clips.

XLA's CPU backend lowers a 3-D convolution far worse than the same sum written as 2-D convolutions over frames folded
into the batch, above all in its gradients. So kernels without extent in time always fold time into the batch; on CPU
kernels without extent in space fold height and width into one axis, full 3-D kernels become a sum of 2-D convolutions,
and both stay one native convolution elsewhere.
"""

from __future__ import annotations

import math
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

Triple = tuple[int, int, int]
Padding = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
NO_PADDING: Padding = ((0, 0), (0, 0), (0, 0))

he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def conv3d(
    x: Float[Array, "B T H W C"],
    kernel: Float[Array, "kt kh kw C D"],
    strides: Triple = (1, 1, 1),
    padding: Padding = NO_PADDING,
    dilation: Triple = (1, 1, 1),
) -> Float[Array, "B t h w D"]:
    """Cross-correlation of clips with `kernel`, padding and dilation written out as (time, height, width)."""
    x = _pad(x, padding)
    kt, kh, kw = kernel.shape[:3]
    if kh == kw == 1 and strides[1:] != (1, 1):
        # A strided point kernel reads a subset: taking it first turns the gradients into plain matrix products.
        x, strides = x[:, :, :: strides[1], :: strides[2]], (strides[0], 1, 1)
    if kt == 1:
        return _frames(x[:, :: strides[0]], kernel[0], strides[1:], dilation[1:])
    spatial = _folded_space if kh == kw == 1 else _folded_taps
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(spatial, strides=strides, dilation=dilation),
        default=partial(_native, strides=strides, dilation=dilation),
    )


def _pad(x: Array, padding: Padding) -> Array:
    if padding == NO_PADDING:
        return x
    return jnp.pad(x, ((0, 0), *padding, (0, 0)))


def _native(x: Array, kernel: Array, strides: Triple, dilation: Triple) -> Array:
    return lax.conv_general_dilated(
        x, kernel, strides, "VALID", rhs_dilation=dilation, dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )


def _frames(x: Array, kernel: Array, strides: tuple[int, int], dilation: tuple[int, int]) -> Array:
    """A 2-D convolution of every frame."""
    if kernel.shape[:2] == (1, 1):
        return lax.dot_general(x, kernel[0, 0], (((4,), (0,)), ((), ())))
    b, t, h, w = x.shape[:4]
    extents = [(taps - 1) * step + 1 for taps, step in zip(kernel.shape[:2], dilation, strict=True)]
    size = [(n - extent) // stride + 1 for n, extent, stride in zip((h, w), extents, strides, strict=True)]
    folded = x.reshape(b * t, h, w, x.shape[4])
    native = partial(_native_frames, strides=strides, dilation=dilation)
    if math.prod(size) < math.prod(kernel.shape[:2]):
        patches = partial(_patches, size=size, strides=strides, dilation=dilation)
        y = lax.platform_dependent(folded, kernel, cpu=patches, default=native)
    else:
        y = native(folded, kernel)
    return y.reshape(b, t, *y.shape[1:])


def _native_frames(x: Array, kernel: Array, strides: tuple[int, int], dilation: tuple[int, int]) -> Array:
    return lax.conv_general_dilated(
        x, kernel, strides, "VALID", rhs_dilation=dilation, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _patches(x: Array, kernel: Array, size: list[int], strides: tuple[int, int], dilation: tuple[int, int]) -> Array:
    """The convolution as one matrix product of gathered patches.

    On CPU a map smaller than its kernel (3x3 over 4x2, the end of a small network) is 10-100x slower natively: 37 ms
    against 1 ms for [128, 4, 2, 128] to 128 channels.
    """
    columns = []
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            starts = (i * dilation[0], j * dilation[1])
            stops = [s + (n - 1) * stride + 1 for s, n, stride in zip(starts, size, strides, strict=True)]
            columns.append(x[:, starts[0] : stops[0] : strides[0], starts[1] : stops[1] : strides[1]])
    return jnp.concatenate(columns, -1) @ kernel.reshape(-1, kernel.shape[-1])


def _folded_taps(x: Array, kernel: Array, strides: Triple, dilation: Triple) -> Array:
    """One 2-D convolution for each temporal tap, summed."""
    return sum(
        _frames(window, plane, strides[1:], dilation[1:])
        for window, plane in zip(_windows(x, len(kernel), strides[0], dilation[0]), kernel, strict=True)
    )


def _folded_space(x: Array, kernel: Array, strides: Triple, dilation: Triple) -> Array:
    """A temporal kernel as a 2-D convolution over (time, all positions).

    Three to eight times faster than the native convolution forwards and backwards, two to four times faster backwards
    than one matrix product for each tap.
    """
    b, t, h, w, c = x.shape
    y = _frames(x.reshape(b, 1, t, h * w, c), kernel[:, 0], (strides[0], 1), (dilation[0], 1))
    return y.reshape(b, y.shape[2], h, w, y.shape[4])


def _windows(x: Array, taps: int, stride: int, dilation: int) -> list[Array]:
    """What each temporal tap reads: `taps` slices of equal length."""
    length = (x.shape[1] - (taps - 1) * dilation - 1) // stride + 1
    return [
        lax.slice_in_dim(x, tap * dilation, tap * dilation + (length - 1) * stride + 1, stride, axis=1)
        for tap in range(taps)
    ]


class Conv(nn.Module):
    """A convolution; a kernel of two extents is 2-D and acts on frames, one of three is 3-D.

    Its parameter `kernel` is [kh, kw, C, D] or [kt, kh, kw, C, D], float32, with `use_bias` there is a `bias` [D]; the
    sum is computed in `dtype`.
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
        """Convolves clips channels last."""
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
    """The padding that keeps height and width under an odd kernel of `size` at stride 1, as PyTorch networks pad."""
    return clip_padding(1, size)


def clip_padding(length: int, size: int) -> Padding:
    """The same for a kernel of `length` frames, odd too, and `size` rows and columns."""
    time, half = length // 2, size // 2
    return ((time, time), (half, half), (half, half))


def max_pool_3x3_stride2(x: Float[Array, "B T H W C"]) -> Float[Array, "B T h w C"]:
    """Max-pooling of frames over 3x3 at stride 2 with padding 1: a maximum of shifted slices.

    The gradient of the native pooling is a scatter that XLA's CPU backend runs one to two orders slower.
    """
    return _max_pool_axis(_max_pool_axis(x, 2, 2), 3, 2)


def max_pool_3_in_time(x: Float[Array, "B T H W C"], stride: int) -> Float[Array, "B t H W C"]:
    """Max-pooling over three frames with padding 1; t = ceil(T / stride)."""
    return _max_pool_axis(x, 1, stride)


def _max_pool_axis(x: Array, axis: int, stride: int) -> Array:
    """The maximum over three neighbours along an axis, padding 1."""
    size = x.shape[axis]
    out = -(-size // stride)
    low = jnp.asarray(-jnp.inf, x.dtype)
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (1, stride * (out - 1) + 2 - size, 0)
    x = lax.pad(x, low, config)
    last = stride * (out - 1) + 1
    slices = [lax.slice_in_dim(x, start, start + last, stride, axis=axis) for start in range(3)]
    return jnp.maximum(jnp.maximum(slices[0], slices[1]), slices[2])
