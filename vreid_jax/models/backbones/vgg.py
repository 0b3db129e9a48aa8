"""VGG-16 over frames or stacks of optical flow (Simonyan and Zisserman, 2015), with the names of torchvision."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.config.inputs import FLOW_CHANNELS, RGB_CHANNELS
from vreid_jax.errors import InputError
from vreid_jax.models.layers.dense import Dense
from vreid_jax.models.layers.norm import BatchNorm
from vreid_jax.models.ops.conv3d import Conv, spatial_padding
from vreid_jax.models.ops.pool import max_pool_blocks
from vreid_jax.models.registry import Classes, Dropout, Dtype, Size, check_channels, register
from vreid_jax.settings import Rule

# Convolutions of each group, and their features in units of `width`. A max-pool follows every group.
GROUPS = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))
SIDE = 7  # of the map that fc6 reads
SMALLEST = 32  # five pools leave one position

Channels = Annotated[
    int,
    Rule(
        lambda x: x in (RGB_CHANNELS, FLOW_CHANNELS),
        f"it is {RGB_CHANNELS}, for pictures, or {FLOW_CHANNELS}, for stacks of optical flow",
    ),
]


class VGG16(nn.Module):
    """VGG-16: every frame, or every stack of flow, alone, then the mean over them.

    Convolutions are 3x3 with bias and padding 1, each followed by ReLU; five max-pools are 2x2. The last map is averaged
    to 7x7, as torchvision does where a frame is not 224x224; two fully connected layers with ReLU and dropout follow.
    Parameters are float32.

    Attributes:
      num_classes: of the classifier; 0 for none.
      channels: 3, pictures; 20, stacks of optical flow.
      width: channels of the first convolution (64 in the paper).
      hidden_size: of the fully connected layers.
      dropout: behind each of them.
      batch_norm: between each convolution and its ReLU, as in torchvision's `vgg16_bn`, for training from nothing.
      dtype: of the computation.
    """

    num_classes: Classes = 0
    channels: Channels = RGB_CHANNELS
    width: Size = 64
    hidden_size: Size = 4096
    dropout: Dropout = 0.5
    batch_norm: bool = False
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W C"], train: bool = False) -> dict[str, Array]:
        """Return the endpoints of normalised clips.

        They are `conv1_1` … `conv5_3` (after ReLU) and `pool1` … `pool5`, [B, T, h, w, D], `fc6` and `fc7`
        [B, T, hidden_size] (after ReLU), `pooled` [B, 8 width], the mean of `pool5`, and `feature` [B, hidden_size], that
        of `fc7`; with classes `logits` [B, num_classes], the mean over frames. The last three are float32.

        Raises:
          InputError: for clips of other channels, or frames that are too small.
        """
        check_channels(clips, self.inputs(), f"vgg16 with channels = {self.channels}")
        if min(clips.shape[2:4]) < SMALLEST:
            # A side of one position is all that five pools leave of 32 pixels.
            raise InputError(
                f"frames of {clips.shape[2]}x{clips.shape[3]} are too small for VGG-16; it needs {SMALLEST}x{SMALLEST}"
            )
        x = jnp.asarray(clips, self.dtype)
        outputs = {}
        for group, (count, times) in enumerate(GROUPS, start=1):
            for number in range(1, count + 1):
                name = f"conv{group}_{number}"
                conv = Conv(
                    times * self.width, (3, 3), padding=spatial_padding(3), use_bias=True, dtype=self.dtype, name=name
                )
                x = conv(x)
                if self.batch_norm:
                    x = BatchNorm(not train, dtype=self.dtype, name=f"bn{group}_{number}")(x)
                x = outputs[name] = nn.relu(x)
            x = outputs[f"pool{group}"] = max_pool_blocks(x, (1, 2, 2))
        outputs["pooled"] = x.astype(jnp.float32).mean((1, 2, 3))
        # Channels first, as the weights of fc6 have them.
        x = jnp.moveaxis(average_to(x, SIDE), -1, 2).reshape(*x.shape[:2], -1)
        for name in ("fc6", "fc7"):
            x = Dense(self.hidden_size, dtype=self.dtype, kernel_init=nn.initializers.he_normal(), name=name)(x)
            outputs[name] = nn.relu(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(outputs[name])
        outputs["feature"] = outputs["fc7"].astype(jnp.float32).mean(1)
        if self.num_classes > 0:
            outputs["logits"] = Dense(self.num_classes, name="classifier")(x.astype(jnp.float32)).mean(1)
        return outputs

    @nn.nowrap
    def inputs(self) -> str:
        """Return what the network reads."""
        return "flow" if self.channels == FLOW_CHANNELS else "frames"


def average_to(x: Float[Array, "B T H W C"], side: int) -> Float[Array, "B T h w C"]:
    """Average maps to `side` x `side`, as PyTorch's adaptive pooling: cell i is the mean of rows ⌊iH/s⌋ to ⌈(i+1)H/s⌉."""
    for axis in (2, 3):
        length = x.shape[axis]
        if length == side:
            continue
        cells = np.zeros((side, length), np.float32)
        for cell in range(side):
            first, stop = cell * length // side, -(-(cell + 1) * length // side)
            cells[cell, first:stop] = 1 / (stop - first)
        x = jnp.moveaxis(jnp.tensordot(jnp.asarray(cells, x.dtype), x, (1, axis)), 0, axis)
    return x


for _name in ("vgg16", "vgg16_bn"):
    register(
        _name,
        VGG16,
        ("num_classes", "channels", "width", "hidden_size", "dropout", "dtype"),
        {"batch_norm": _name == "vgg16_bn"},
        input_size=(224, 224),
        clip_length=1,
    )
