"""I3D: Inception-v1 inflated to space and time (Carreira and Zisserman, 2017)."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.models.layers.norm import BatchNorm
from vreid_jax.models.layers.same_padding import max_pool_same, same_padding
from vreid_jax.models.ops.conv3d import Conv, Triple
from vreid_jax.models.registry import Dtype, Size, register

# Channels at width 64: 1x1 | 1x1, 3x3x3 | 1x1, 3x3x3 | 1x1 after the pool.
MIXED: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# The pool before a block: (window, strides).
POOL_BEFORE: dict[str, tuple[Triple, Triple]] = {
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}
HALF = (0.5, 0.5, 0.5)


class Unit(nn.Module):
    """Convolution with SAME padding, batch norm (ε = 1e-3) and ReLU."""

    features: int
    kernel_size: Triple = (1, 1, 1)
    strides: Triple = (1, 1, 1)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool = False) -> Float[Array, "B t h w D"]:
        """Apply the unit; every extent is divided by its stride and rounded up."""
        point = self.kernel_size == (1, 1, 1)
        padding = same_padding((x.shape[1], x.shape[2], x.shape[3]), self.kernel_size, self.strides)
        kernel_size = (1, 1) if point else self.kernel_size
        x = Conv(self.features, kernel_size, self.strides, padding, dtype=self.dtype, name="conv3d")(x)
        return nn.relu(BatchNorm(not train, epsilon=1e-3, dtype=self.dtype, name="bn")(x))


class Inception(nn.Module):
    """Four parallel branches, concatenated: 1x1x1; twice 1x1x1 and 3x3x3; 3x3x3 max-pool and 1x1x1."""

    features: tuple[int, int, int, int, int, int]
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool = False) -> Float[Array, "B T H W D"]:
        """Apply the block; D is the sum of the first, third, fifth and sixth of `features`."""
        point, reduce1, cube1, reduce2, cube2, pooled = self.features
        unit = partial(Unit, dtype=self.dtype)
        cube = (3, 3, 3)
        first = unit(reduce1, name="b1a")(x, train)
        second = unit(reduce2, name="b2a")(x, train)
        branches = (
            unit(point, name="b0")(x, train),
            unit(cube1, cube, name="b1b")(first, train),
            unit(cube2, cube, name="b2b")(second, train),
            unit(pooled, name="b3b")(max_pool_same(x, cube, (1, 1, 1)), train),
        )
        return jnp.concatenate(branches, -1)


class InceptionI3D(nn.Module):
    """Inception-v1 I3D over [B, T, H, W, 3] without its classifier; modules are named as in the original.

    `width` is the number of channels of the first convolution (64 in the paper, the others in proportion). All padding
    is TensorFlow's SAME, in pooling too; clips may have any size. Parameters are float32; `dtype` is the dtype of the
    computation.
    """

    width: Size = 64
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W 3"], train: bool = False) -> dict[str, Array]:
        """Return the endpoints of clips in [-1, 1].

        They are `Conv3d_1a_7x7`, `Conv3d_2b_1x1`, `Conv3d_2c_3x3` and `Mixed_3b` … `Mixed_5c`, [B, t, h, w, C], and
        `pooled` [B, 16 width], float32: the mean of `Mixed_5c` over time, height and width, in place of the original's
        2x7x7 average pool. It is `feature`, too.
        """
        unit = partial(Unit, dtype=self.dtype)
        outputs = {}
        x = jnp.asarray(clips, self.dtype)
        x = outputs["Conv3d_1a_7x7"] = unit(self.width, (7, 7, 7), (2, 2, 2), name="Conv3d_1a_7x7")(x, train)
        x = max_pool_same(x, (1, 3, 3), (1, 2, 2))
        x = outputs["Conv3d_2b_1x1"] = unit(self.width, name="Conv3d_2b_1x1")(x, train)
        x = outputs["Conv3d_2c_3x3"] = unit(3 * self.width, (3, 3, 3), name="Conv3d_2c_3x3")(x, train)
        for name, channels in MIXED.items():
            if name in POOL_BEFORE:
                x = max_pool_same(x, *POOL_BEFORE[name])
            a, b, c, d, e, f = (max(1, channel * self.width // 64) for channel in channels)
            x = outputs[name] = Inception((a, b, c, d, e, f), self.dtype, name=name)(x, train)
        outputs["pooled"] = outputs["feature"] = x.astype(jnp.float32).mean((1, 2, 3))
        return outputs


register("i3d_inception_v1", InceptionI3D, ("width", "dtype"), {}, mean=HALF, std=HALF, clip_length=4)
