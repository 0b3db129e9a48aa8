"""The multi-scale 3-D layer of the two-stream M3D paper (Eq. 4-6)."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vreid_jax.models.layers.norm import BatchNorm
from vreid_jax.models.ops.conv3d import Conv, he_fan_out
from vreid_jax.settings import Rule, check, one_of

SCALE_RULES = ("paper", "log2")
Scales = Annotated[
    str | int,
    Rule(
        lambda rule: rule in SCALE_RULES if isinstance(rule, str) else rule >= 1,
        f"it is {', '.join(SCALE_RULES)} or a number from 1",
    ),
]
Start = Annotated[str, one_of(("random", "zero_sum"))]


def num_scales(length: int, rule: str | int) -> int:
    """Return the number n of temporal kernels for an input of `length` = T frames.

    Rule "paper": max(1, floor((T - 1) / 2)), Eq. 6 with at least 1 where time is strided; "log2": floor(log2 T), as in
    the released code, also at least 1; a number: that many, but no more than a kernel of their dilation reaches, T - 1,
    and at least 1.

    Raises:
      InputError: for another rule, or a number below 1.
    """
    check(rule, Scales, "temporal_scales")
    if isinstance(rule, int):
        return max(1, min(rule, length - 1))
    return max(1, (length - 1) // 2 if rule == "paper" else length.bit_length() - 1)


def mean_of_pairs(x: Float[Array, "B T H W C"]) -> Float[Array, "B t H W C"]:
    """Return the mean of frames 0 and 1, of 2 and 3, ...; the last of an odd number of frames stays as it is."""
    # Indexing in place of slices would become a gather where an export leaves the batch open.
    even, odd = (lax.slice_in_dim(x, start, None, 2, axis=1) for start in (0, 1))
    pairs = odd.shape[1]
    if pairs == even.shape[1]:
        return (even + odd) * 0.5
    return even.at[:, :pairs].set((even[:, :pairs] + odd) * 0.5)


def he_zero_sum(key, shape: tuple[int, ...], dtype=jnp.float32) -> Float[Array, "kt kh kw C D"]:
    """Initialise a temporal kernel at random with taps that sum to zero, so that it reads what changes between frames."""
    kernel = he_fan_out(key, shape, dtype)
    return kernel - kernel.mean(0, keepdims=True)


class M3D(nn.Module):
    """The sum of a spatial convolution's output s and `scales` dilated temporal ones: y = s + Σ_i T_i(s) (Eq. 4, 5).

    T_i is a 3x1x1 convolution of dilation i with random weights, and a batch norm whose scale starts at zero: the layer
    starts as the identity and every parameter learns. (`initial_scale` above zero gives that up: the temporal kernels
    act from the first step, and dynamics are learned sooner.) With `initial_kernel` "zero_sum" the taps of a kernel start with the sum
    zero, and a still clip changes nothing but at its two ends, where the padding begins. With `stride` 2, y is the mean of pairs of frames plus
    strided T_i, whose taps centre on frames 0, 2, 4, ... `released` puts a ReLU after each batch norm; a scale of zero
    would then never learn, so it starts at one.
    """

    scales: int
    stride: int = 1
    released: bool = False
    initial_scale: float = 0.0
    initial_kernel: str = "random"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, s: Float[Array, "B T H W C"], train: bool = False) -> Float[Array, "B t H W C"]:
        """Return the multi-scale sum, with t = ceil(T / stride)."""
        check(self.initial_kernel, Start, "m3d_init")
        y = s if self.stride == 1 else mean_of_pairs(s)
        scale_init = nn.initializers.constant(1.0 if self.released else self.initial_scale)
        for i in range(1, self.scales + 1):
            branch = Conv(
                s.shape[-1],
                (3, 1, 1),
                strides=(self.stride, 1, 1),
                padding=((i, i), (0, 0), (0, 0)),
                dilation=(i, 1, 1),
                kernel_init=he_zero_sum if self.initial_kernel == "zero_sum" else he_fan_out,
                dtype=self.dtype,
                name=f"conv{i}",
            )(s)
            branch = BatchNorm(not train, dtype=self.dtype, scale_init=scale_init, name=f"bn{i}")(branch)
            y = y + (nn.relu(branch) if self.released else branch)
        return y
