"""Depthwise 3x3 convolution of frames, its implementation chosen by backend.

XLA's CPU backend runs a grouped convolution 10 to 40 times slower than the same sum written as nine products with
shifted frames, whose gradients are written out for the same reason. Other backends run the native operation.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vreid_jax.models.ops.conv3d import he_fan_out

_PADDING = ((1, 1), (1, 1))  # written out, as PyTorch pads


def depthwise_conv3x3(x: Float[Array, "B T H W C"], kernel: Float[Array, "3 3 1 C"]) -> Float[Array, "B T H W C"]:
    """Return the cross-correlation of every channel of frames with a 3x3 kernel of its own, padding 1, stride 1."""
    return _depthwise(x, kernel)


@jax.custom_vjp
def _depthwise(x: Array, kernel: Array) -> Array:
    return _forward(x, kernel)


@partial(jax.jit, inline=True)
def _forward(x: Array, kernel: Array) -> Array:
    return lax.platform_dependent(x, kernel, cpu=_shifted, default=_native)


@partial(jax.jit, inline=True)
def _backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    def on_cpu(x, kernel, g):
        return _shifted(g, jnp.flip(kernel, (0, 1))), _kernel_gradient(x, g).astype(kernel.dtype)

    def native(x, kernel, g):
        return jax.vjp(_native, x, kernel)[1](g)

    return lax.platform_dependent(*residuals, g, cpu=on_cpu, default=native)


_depthwise.defvjp(lambda x, kernel: (_forward(x, kernel), (x, kernel)), _backward)


def _native(x: Array, kernel: Array) -> Array:
    frames = x.reshape(-1, *x.shape[2:])
    dimensions = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(
        frames, kernel, (1, 1), _PADDING, dimension_numbers=dimensions, feature_group_count=x.shape[-1]
    )
    return y.reshape(x.shape)


def _padded(x: Array) -> Array:
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (0, 0, 0), *((*border, 0) for border in _PADDING), (0, 0, 0)))


def _shifted(x: Array, kernel: Array) -> Array:
    """Add up nine products of shifted frames and a tap."""
    height, width = x.shape[2:4]
    x = _padded(x)
    taps = kernel[:, :, None, None, None]
    terms = [x[:, :, i : i + height, j : j + width] * taps[i, j] for i in range(3) for j in range(3)]
    return sum(terms[1:], terms[0])


def _kernel_gradient(x: Array, g: Array) -> Array:
    """Return the gradient of the kernel [3, 3, 1, C], float32, a tap at a time.

    As a product with ones the sum over positions is a fast matrix product; as a reduction it is not.
    """
    positions, channels = g.size // g.shape[-1], g.shape[-1]
    x, ones = _padded(x), jnp.ones((1, positions), g.dtype)

    def tap(number):
        shifted = lax.dynamic_slice(x, (0, 0, number // 3, number % 3, 0), g.shape)
        return jnp.dot(ones, (shifted * g).reshape(positions, channels), preferred_element_type=jnp.float32)

    return lax.map(tap, jnp.arange(9)).reshape(3, 3, 1, channels)


class DepthwiseConv3x3(nn.Module):
    """A depthwise 3x3 convolution of frames: a float32 parameter `kernel` [3, 3, 1, C], computed in `dtype`."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        """Convolve frames; the channels are the last axis."""
        kernel = self.param("kernel", he_fan_out, (3, 3, 1, x.shape[-1]), jnp.float32)
        dtype = jnp.dtype(self.dtype)
        return depthwise_conv3x3(x.astype(dtype), kernel.astype(dtype))
