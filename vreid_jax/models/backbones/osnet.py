"""OSNet: omni-scale features of frames (Zhou et al., 2019 and 2021), as torchreid computes them.

`backbone` makes the convolutional part of a registered network alone, for systems that pool its maps themselves.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.errors import InputError
from vreid_jax.models.layers.dense import Dense
from vreid_jax.models.layers.norm import BatchNorm, InstanceNorm
from vreid_jax.models.ops.conv3d import Conv, spatial_padding
from vreid_jax.models.ops.depthwise import DepthwiseConv3x3
from vreid_jax.models.ops.pool import max_pool_3x3_stride2, mean_pool_2x2
from vreid_jax.models.registry import Classes, Dtype, Size, entry, register

STREAMS = 4  # of a block; stream t sees 2t + 1 pixels
SMALLEST = 13  # pixels of a side that leave a position behind the pools
REDUCTION = 16  # of channels inside the gate

# Where the six blocks normalise instances: nowhere, after the sum with the shortcut, or before it.
NORMS: dict[str, tuple[str, ...]] = {
    "batch": ("", "", "", "", "", ""),
    "ibn": ("after", "after", "", "", "", ""),
    "ain": ("before", "before", "", "before", "before", ""),
}


class Point(nn.Module):
    """A 1x1 convolution `conv`, batch norm `bn`, and ReLU unless `linear`."""

    features: int
    linear: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool = False) -> Float[Array, "B T H W D"]:
        """Apply the unit."""
        x = Conv(self.features, (1, 1), dtype=self.dtype, name="conv")(x)
        x = BatchNorm(not train, dtype=self.dtype, name="bn")(x)
        return x if self.linear else nn.relu(x)


class Light(nn.Module):
    """A lightweight 3x3 convolution: 1x1, then depthwise 3x3, batch norm and ReLU."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool = False) -> Float[Array, "B T H W C"]:
        """Apply the unit."""
        x = Conv(x.shape[-1], (1, 1), dtype=self.dtype, name="conv1")(x)
        x = DepthwiseConv3x3(self.dtype, name="conv2")(x)
        return nn.relu(BatchNorm(not train, dtype=self.dtype, name="bn")(x))


class Gate(nn.Module):
    """Weights between 0 and 1 for the channels of a frame, from their means; float32."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        """Return the frames, each channel times its weight."""
        channels = x.shape[-1]
        means = x.astype(jnp.float32).mean((2, 3))
        hidden = nn.relu(Dense(max(1, channels // REDUCTION), name="fc1")(means))
        weights = nn.sigmoid(Dense(channels, name="fc2")(hidden))
        return x * weights[:, :, None, None].astype(x.dtype)


class Block(nn.Module):
    """Streams of one to four lightweight convolutions, summed through one gate that they share, and a shortcut.

    `instance_norm` is a value of `NORMS`: with "before" it takes the place of the last batch norm.
    """

    features: int
    instance_norm: str = ""
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool = False) -> Float[Array, "B T H W D"]:
        """Apply the block."""
        point = partial(Point, dtype=self.dtype)
        shortcut = x if x.shape[-1] == self.features else point(self.features, True, name="downsample")(x, train)
        reduced = point(self.features // 4, name="conv1")(x, train)
        gate = Gate(name="gate")
        total = jnp.zeros_like(reduced)
        for stream in range(STREAMS):
            y = reduced
            for number in range(stream + 1):
                y = Light(self.dtype, name=f"conv2_{stream}_{number}")(y, train)
            total = total + gate(y)
        norm = InstanceNorm(dtype=self.dtype, name="IN") if self.instance_norm else None
        if norm is not None and self.instance_norm == "before":
            y = norm(BareConv(self.features, self.dtype, name="conv3")(total))
            return nn.relu(y + shortcut)
        y = point(self.features, True, name="conv3")(total, train) + shortcut
        return nn.relu(y if norm is None else norm(y))


class BareConv(nn.Module):
    """A 1x1 convolution `conv` and nothing else, named as a `Point` is."""

    features: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W D"]:
        """Convolve frames."""
        return Conv(self.features, (1, 1), dtype=self.dtype, name="conv")(x)


class OSNetBackbone(nn.Module):
    """The convolutional part of OSNet over [B, T, H, W, 3]: every frame alone, at a sixteenth of its height and width.

    Attributes:
      width: channels of the stem, a multiple of 16 (64 in x1.0, 16 in x0.25); the stages have 4, 6 and 8 times as many.
      norm: one of `NORMS`: "batch", or with instance norm "ibn" (of OSNet-IBN) or "ain" (of OSNet-AIN).
      dtype: of the computation; parameters are float32.
    """

    width: int = 64
    norm: str = "batch"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W 3"], train: bool = False) -> dict[str, Array]:
        """Return the endpoints of normalised clips.

        They are `conv1` (before the pool), `conv2`, `conv3` (both after their pool), `conv4` and `conv5`,
        [B, T, h, w, C], and `pooled` [B, T, 8 width], float32: the mean of `conv5` over height and width.

        Raises:
          InputError: for an unknown norm, a width that is not a multiple of 16, or frames that are too small.
        """
        if self.norm not in NORMS:
            raise InputError(f"norm of OSNet is {self.norm!r}, expected one of {', '.join(NORMS)}")
        if self.width % 16:
            raise InputError(f"width of OSNet is {self.width}, expected a multiple of 16: 64 is x1.0, 16 is x0.25")
        if min(clips.shape[2:4]) < SMALLEST:
            raise InputError(
                f"frames of {clips.shape[2]}x{clips.shape[3]} are too small for OSNet; it needs {SMALLEST}x{SMALLEST}"
            )
        point = partial(Point, dtype=self.dtype)
        x = jnp.asarray(clips, self.dtype)
        x = Stem(self.width, self.norm != "batch", self.dtype, name="conv1")(x, train)
        outputs = {"conv1": x}
        x = max_pool_3x3_stride2(x)
        for stage, times in enumerate((4, 6, 8), start=2):
            features = times * self.width
            for block in range(2):
                instance_norm = NORMS[self.norm][2 * (stage - 2) + block]
                x = Block(features, instance_norm, self.dtype, name=f"conv{stage}_{block}")(x, train)
            if stage < 4:
                x = mean_pool_2x2(point(features, name=f"pool{stage}")(x, train))
            outputs[f"conv{stage}"] = x
        x = outputs["conv5"] = point(8 * self.width, name="conv5")(x, train)
        outputs["pooled"] = x.astype(jnp.float32).mean((2, 3))
        return outputs


class Stem(nn.Module):
    """A 7x7 convolution at stride 2, batch or instance norm, and ReLU."""

    features: int
    instance_norm: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool = False) -> Float[Array, "B T h w D"]:
        """Apply the stem."""
        x = Conv(self.features, (7, 7), (1, 2, 2), spatial_padding(7), dtype=self.dtype, name="conv")(x)
        if self.instance_norm:
            return nn.relu(InstanceNorm(dtype=self.dtype, name="bn")(x))
        return nn.relu(BatchNorm(not train, dtype=self.dtype, name="bn")(x))


class EmbeddingHead(nn.Module):
    """A fully connected layer, batch norm and ReLU give the feature of a frame; a classifier follows. All is float32."""

    features: int = 512
    num_classes: int = 0

    @nn.compact
    def __call__(self, pooled: Float[Array, "B T C"], train: bool = False) -> dict[str, Array]:
        """Return `feature` [B, features], the mean over frames, and with classes `logits` [B, num_classes] of it."""
        x = Dense(self.features, name="fc")(pooled.astype(jnp.float32))
        feature = nn.relu(BatchNorm(not train, name="bn")(x)).mean(1)
        outputs = {"feature": feature}
        if self.num_classes > 0:
            # Of the mean feature, which is the mean of the frames' logits.
            outputs["logits"] = Dense(self.num_classes, name="classifier")(feature)
        return outputs


class OSNet(nn.Module):
    """OSNet over [B, T, H, W, 3]: every frame alone, then the mean over frames.

    Attributes:
      num_classes: of the classifier; 0 for none.
      feature_size: length of the feature.
      width: as in `OSNetBackbone`.
      norm: likewise.
      dtype: likewise.
    """

    num_classes: Classes = 0
    feature_size: Size = 512
    width: Size = 64
    norm: str = "batch"
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W 3"], train: bool = False) -> dict[str, Array]:
        """Return the endpoints of normalised clips.

        They are those of `OSNetBackbone`, with `pooled` [B, 8 width] and `feature` [B, feature_size] means over frames,
        float32, and with classes `logits` [B, num_classes].
        """
        outputs = OSNetBackbone(self.width, self.norm, self.dtype, name="backbone")(clips, train)
        head = EmbeddingHead(self.feature_size, self.num_classes, name="head")
        return {**outputs, "pooled": outputs["pooled"].mean(1), **head(outputs["pooled"], train)}


def backbone(name: str, **fields) -> OSNetBackbone:
    """Return the convolutional part of a registered OSNet, without its fully connected layer.

    Args:
      name: one of the names registered here, e.g. "osnet_x0_25".
      **fields: of `OSNetBackbone`, in place of the registered ones.

    Raises:
      InputError: for the name of another network.
    """
    found = entry(name)
    if found.module is not OSNet:
        raise InputError(f"{name!r} is not an OSNet; they are {', '.join(WIDTHS)}")
    return OSNetBackbone(**{**found.fixed, **fields})


# Channels of the stem, and norm.
WIDTHS: dict[str, tuple[int, str]] = {
    "osnet_x1_0": (64, "batch"),
    "osnet_x0_75": (48, "batch"),
    "osnet_x0_5": (32, "batch"),
    "osnet_x0_25": (16, "batch"),
    "osnet_ibn_x1_0": (64, "ibn"),
    "osnet_ain_x1_0": (64, "ain"),
}
for _name, (_width, _norm) in WIDTHS.items():
    # torchreid compares the features of OSNet-AIN by the cosine, of the others by Euclidean distance.
    register(
        _name,
        OSNet,
        ("num_classes", "feature_size", "width", "dtype"),
        {"width": _width, "norm": _norm},
        clip_length=1,
        metric="cosine" if _norm == "ain" else "euclidean",
    )
