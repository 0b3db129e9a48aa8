"""The bottleneck of a ResNet over frames or clips."""

from __future__ import annotations

from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.models.layers.m3d import M3D, mean_of_pairs
from vreid_jax.models.layers.norm import BatchNorm
from vreid_jax.models.layers.space_time import space_time
from vreid_jax.models.ops.conv3d import Conv

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1x1, `kind` of 3x3 (`space_time`), and 1x1x1 convolutions around a shortcut.

    `stride` and `temporal_stride` are those of the middle convolution and the shortcut, `project` gives the shortcut
    its own 1x1x1 convolution. In kind "m3d" an M3D layer of `scales` > 0 follows the middle; it strides time itself,
    and the shortcut is averaged over pairs of frames instead of strided.
    """

    width: int
    kind: str = "2d"
    stride: int = 1
    temporal_stride: int = 1
    project: bool = False
    scales: int = 0
    released: bool = False
    m3d_scale: float = 0.0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool = False) -> Float[Array, "B t h w D"]:
        """D = 4 width, t = ceil(T / temporal_stride)."""

        def norm(name):
            return BatchNorm(not train, dtype=self.dtype, name=name)

        # Whose convolutions stride time: an M3D layer reads every frame.
        temporal_stride = 1 if self.kind == "m3d" else self.temporal_stride
        y = Conv(self.width, (1, 1), dtype=self.dtype, name="conv1")(x)
        y = nn.relu(norm("bn1")(y))
        y = space_time(
            y,
            train,
            kind=self.kind,
            features=self.width,
            number=2,
            size=3,
            stride=self.stride,
            temporal_stride=temporal_stride,
            dtype=self.dtype,
        )
        if self.scales:
            y = M3D(self.scales, self.temporal_stride, self.released, self.m3d_scale, self.dtype, name="m3d")(y, train)
        y = Conv(EXPANSION * self.width, (1, 1), dtype=self.dtype, name="conv3")(y)
        y = norm("bn3")(y)
        shortcut = x
        if self.project:
            strides = (temporal_stride, self.stride, self.stride)
            shortcut = Conv(EXPANSION * self.width, (1, 1), strides, dtype=self.dtype, name="downsample_conv")(x)
            shortcut = norm("downsample_bn")(shortcut)
            if self.temporal_stride > temporal_stride:
                shortcut = mean_of_pairs(shortcut)
        return nn.relu(y + shortcut)
