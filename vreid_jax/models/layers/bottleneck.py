"""The bottleneck block of a ResNet over frames or clips."""

from __future__ import annotations

from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.models.layers.m3d import M3D, mean_of_pairs
from vreid_jax.models.layers.norm import BatchNorm
from vreid_jax.models.layers.space_time import space_time
from vreid_jax.models.ops.conv3d import Conv

EXPANSION = 4


class Bottleneck(nn.Module):
    """A 1x1x1 convolution, a 3x3 one of a `kind` (see `space_time`), a 1x1x1 one, and a shortcut around the three.

    The middle convolution and the shortcut have `stride` and `temporal_stride`; `project` gives the shortcut its own
    1x1x1 convolution. With `temporal_shortcut` "mean" the shortcut averages pairs of frames instead of striding time, and
    so does the temporal kernel of "separable" at the start. In kind "m3d" with `scales` > 0 an M3D layer follows the middle
    convolution; it strides time itself, and the shortcut averages.
    """

    width: int
    kind: str = "2d"
    stride: int = 1
    temporal_stride: int = 1
    temporal_shortcut: str = "subsample"
    project: bool = False
    scales: int = 0
    released: bool = False
    m3d_scale: float = 0.0
    m3d_init: str = "random"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool = False) -> Float[Array, "B t h w D"]:
        """Return the block's output, with D = 4 width and t = ceil(T / temporal_stride)."""

        def norm(name):
            return BatchNorm(not train, dtype=self.dtype, name=name)

        # In kind "m3d" no convolution strides time: the M3D layer reads every frame.
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
            merge=self.temporal_shortcut,
            dtype=self.dtype,
        )
        if self.scales:
            y = M3D(
                self.scales,
                self.temporal_stride,
                self.released,
                self.m3d_scale,
                self.m3d_init,
                self.dtype,
                name="m3d",
            )(y, train)
        y = Conv(EXPANSION * self.width, (1, 1), dtype=self.dtype, name="conv3")(y)
        y = norm("bn3")(y)
        shortcut = x
        if self.project:
            averages = self.temporal_stride == 2 and (self.kind == "m3d" or self.temporal_shortcut == "mean")
            strides = (1 if averages else temporal_stride, self.stride, self.stride)
            shortcut = Conv(EXPANSION * self.width, (1, 1), strides, dtype=self.dtype, name="downsample_conv")(x)
            shortcut = norm("downsample_bn")(shortcut)
            if averages:
                shortcut = mean_of_pairs(shortcut)
        return nn.relu(y + shortcut)
