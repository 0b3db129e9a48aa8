"""The convolutions over clips that replace the 2-D convolutions in the stem and the bottlenecks of a ResNet."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vreid_jax.models.layers.inflation import identity_in_time, mean_in_time
from vreid_jax.models.layers.m3d import mean_of_pairs
from vreid_jax.models.layers.norm import BatchNorm
from vreid_jax.models.ops.conv3d import Conv, clip_padding, he_fan_out, spatial_padding

KINDS = ("2d", "m3d", "inflated", "separable", "p3d_a", "p3d_b", "p3d_c")


def space_time(
    x: Float[Array, "B T H W C"],
    train: bool,
    *,
    kind: str,
    features: int,
    number: int,
    size: int,
    length: int = 3,
    stride: int = 1,
    temporal_stride: int = 1,
    merge: str = "subsample",
    relu: bool = True,
    dtype: str = "float32",
) -> Float[Array, "B t h w D"]:
    """Convolve in space and time as `kind` says, with batch norm and ReLU; call it inside a compact method.

    The caller gets the submodules `conv<number>`, `bn<number>`, and for temporal kernels `conv<number>_t` and
    `bn<number>_t`. t = ceil(T / temporal_stride), h = ceil(H / stride), D = `features`. With `relu` False no ReLU follows a
    batch norm. With `merge` "mean" the temporal kernel of "separable" starts, where it strides time, as the mean of the
    two frames that it merges; with "subsample" as the first of the two. The kinds, where CBR(k) is a convolution with
    kernel k, batch norm and ReLU, S is 1x`size`x`size` and T is 3x1x1:

    * "2d", "m3d": CBR(S), every frame alone;
    * "inflated": CBR(`length`x`size`x`size`);
    * "separable": convolutions T, then S, then one batch norm and ReLU (the order is the paper's, that nothing stands
      between the two a choice);
    * "p3d_a": CBR(T) of CBR(S);
    * "p3d_b": CBR(S) + CBR(T), of the same input;
    * "p3d_c": y + CBR(T) of y, with y = CBR(S); where time is strided the first y is averaged over pairs of frames.

    A temporal kernel starts as the identity where the network can start as the 2-D one, and at random in "p3d_b" and
    "p3d_c": a branch that is added after a ReLU cannot both be zero and learn.
    """

    def act(name: str, y: Array) -> Array:
        y = BatchNorm(not train, dtype=dtype, name=name)(y)
        return nn.relu(y) if relu else y

    def spatial(y: Array) -> Array:
        strides, padding = (1, stride, stride), spatial_padding(size)
        return Conv(features, (size, size), strides, padding, dtype=dtype, name=f"conv{number}")(y)

    def temporal(y: Array, channels: int, spatial_stride: int, init) -> Array:
        strides, padding = (temporal_stride, spatial_stride, spatial_stride), clip_padding(3, 1)
        name = f"conv{number}_t"
        return Conv(channels, (3, 1, 1), strides, padding, dtype=dtype, kernel_init=init, name=name)(y)

    bn, bn_t = f"bn{number}", f"bn{number}_t"
    if kind == "inflated":
        strides, padding = (temporal_stride, stride, stride), clip_padding(length, size)
        kernel = (length, size, size)
        return act(bn, Conv(features, kernel, strides, padding, dtype=dtype, name=f"conv{number}")(x))
    if kind == "separable":
        init = identity_in_time
        if temporal_stride == 2 and merge == "mean":
            init = mean_in_time
            if x.shape[1] % 2:  # the last frame is merged with itself
                x = jnp.concatenate([x, lax.slice_in_dim(x, x.shape[1] - 1, None, axis=1)], 1)
        return act(bn, spatial(temporal(x, x.shape[-1], 1, init)))
    if kind == "p3d_b":
        y = act(bn, spatial(x[:, ::temporal_stride]))
        return y + act(bn_t, temporal(x, features, stride, he_fan_out))
    y = act(bn, spatial(x))
    if kind == "p3d_a":
        return act(bn_t, temporal(y, features, 1, identity_in_time))
    if kind == "p3d_c":
        mean = y if temporal_stride == 1 else mean_of_pairs(y)
        return mean + act(bn_t, temporal(y, features, 1, he_fan_out))
    return y
