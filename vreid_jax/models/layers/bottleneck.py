"""The bottleneck of a ResNet over clips."""

from __future__ import annotations

from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.models.layers.conv3d import Conv, spatial_padding
from vreid_jax.models.layers.m3d import M3D, mean_of_pairs
from vreid_jax.models.layers.norm import BatchNorm

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions of every frame around a shortcut, with `scales` > 0 an M3D layer in the middle.

    `stride` is that of the 3x3 convolution, `temporal_stride` 2 averages the shortcut over pairs of frames and strides
    the M3D layer, `project` gives the shortcut its own 1x1 convolution.
    """

    width: int
    stride: int = 1
    project: bool = False
    scales: int = 0
    temporal_stride: int = 1
    released: bool = False
    m3d_scale: float = 0.0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool = False) -> Float[Array, "B t h w D"]:
        """D = 4 width, t = ceil(T / temporal_stride)."""
        strides = (1, self.stride, self.stride)

        def norm(name):
            return BatchNorm(not train, dtype=self.dtype, name=name)

        y = Conv(self.width, (1, 1), dtype=self.dtype, name="conv1")(x)
        y = nn.relu(norm("bn1")(y))
        y = Conv(self.width, (3, 3), strides, spatial_padding(3), dtype=self.dtype, name="conv2")(y)
        y = nn.relu(norm("bn2")(y))
        if self.scales:
            y = M3D(self.scales, self.temporal_stride, self.released, self.m3d_scale, self.dtype, name="m3d")(y, train)
        y = Conv(EXPANSION * self.width, (1, 1), dtype=self.dtype, name="conv3")(y)
        y = norm("bn3")(y)
        shortcut = x
        if self.project:
            shortcut = Conv(EXPANSION * self.width, (1, 1), strides, dtype=self.dtype, name="downsample_conv")(x)
            shortcut = norm("downsample_bn")(shortcut)
            if self.temporal_stride == 2:
                shortcut = mean_of_pairs(shortcut)
        return nn.relu(y + shortcut)
