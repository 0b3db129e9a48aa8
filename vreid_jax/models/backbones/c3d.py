"""C3D: 3x3x3 convolutions and pooling over space and time (Tran et al., 2015)."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.errors import InputError
from vreid_jax.models.layers.dense import Dense
from vreid_jax.models.ops.conv3d import Conv
from vreid_jax.models.ops.pool import max_pool, max_pool_blocks
from vreid_jax.models.registry import Dropout, Dtype, Size, register

# The convolutions of each group: (name, features in units of `width`). A max-pool follows every group.
EIGHT = (
    (("conv1", 1),),
    (("conv2", 2),),
    (("conv3a", 4), ("conv3b", 4)),
    (("conv4a", 8), ("conv4b", 8)),
    (("conv5a", 8), ("conv5b", 8)),
)
FIVE = ((("conv1", 1),), (("conv2", 2),), (("conv3b", 4),), (("conv4b", 4),), (("conv5b", 4),))
ONE = ((1, 1), (1, 1), (1, 1))

FC6_INPUT = (1, 4, 4)  # positions of pool5 for 16 frames of FC6_SIZE
FC6_SIZE = (112, 112)

# Sports-1M weights expect RGB in grey levels minus a mean, without a division (mmaction2's configuration of C3D).
SPORTS1M_MEAN = (104 / 255, 117 / 255, 128 / 255)
SPORTS1M_STD = (1 / 255, 1 / 255, 1 / 255)


class C3D(nn.Module):
    """C3D over [B, T, H, W, 3], without its classifier.

    Convolutions are 3x3x3 with bias, stride 1 and padding 1, each followed by ReLU; pools are 1x2x2, then 2x2x2, without
    padding, except that the network of 8 convolutions pads `pool5` by one in height and width, as released: 180x90
    pixels give 6x3 positions, 112x112 give 4x4. Parameters are float32.

    Attributes:
      groups: the convolutions between the pools: `c3d` has the 8 of the Sports-1M weights, which the figure of the
        PersonVLAD paper shows; `c3d_small` the 5 of its text (64-128-256-256-256), each named like the last of its group.
      width: channels of the first convolution (64 in the paper).
      fully_connected: add `fc6` and `fc7`, the paper's "C3D features", to the network of 8 convolutions; for clips of 16
        frames of 112x112 only.
      hidden_size: of these (4,096 as released).
      dropout: behind each of them; that behind `fc7` is for a classifier, which C3D does not have: see `dropped`.
      dtype: of the computation.
    """

    groups: tuple[tuple[tuple[str, int], ...], ...] = EIGHT
    width: Size = 64
    fully_connected: bool = False
    hidden_size: Size = 4096
    dropout: Dropout = 0.5
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W 3"], train: bool = False) -> dict[str, Array]:
        """Return the endpoints of normalised clips.

        They are `conv1` … `conv5b` (after ReLU) and `pool1` … `pool5`, [B, t, h, w, C], and `pooled` [B, C], float32,
        the mean of `conv5b`. `pool5` is missing where the clip is too small for it (8 frames leave one for `conv5b`).
        With `fully_connected` there are `fc6` and `fc7` [B, hidden_size] (after ReLU), and `dropped`, float32, which is
        `fc7` behind its dropout. `feature`, float32, is `fc7`, without it `pooled`.

        Raises:
          InputError: when the clip is too small for an earlier pool, or has another size than `fc6` reads; for
            `fully_connected` without the 8 convolutions.
        """
        if self.fully_connected and self.groups != EIGHT:
            raise InputError(
                "fully_connected is True, but only C3D of eight convolutions has fc6 and fc7, as in the models c3d and "
                "person_vlad: leave it out, or take one of these"
            )
        x = jnp.asarray(clips, self.dtype)
        outputs = {}
        for number, group in enumerate(self.groups, start=1):
            for name, features in group:
                conv = Conv(features * self.width, (3, 3, 3), padding=ONE, use_bias=True, dtype=self.dtype, name=name)
                x = outputs[name] = nn.relu(conv(x))
            block = (1 if number == 1 else 2, 2, 2)
            if number == 5 and self.groups == EIGHT and x.shape[1] > 1:
                x = outputs["pool5"] = max_pool(x, block, block, ((0, 0), (1, 1), (1, 1)))
            elif all(extent >= size for extent, size in zip(x.shape[1:4], block, strict=True)):
                x = outputs[f"pool{number}"] = max_pool_blocks(x, block)
            elif number < len(self.groups):
                raise InputError(
                    f"clips of {clips.shape[1]} frames of {clips.shape[2]}x{clips.shape[3]} are too small for C3D; it "
                    "needs 8 frames of 16x16 for conv5b and 16 of 32x32 for pool5"
                )
        outputs["pooled"] = outputs["feature"] = outputs[self.groups[-1][-1][0]].astype(jnp.float32).mean((1, 2, 3))
        return self._fully_connected(outputs, clips.shape, train) if self.fully_connected else outputs

    @property
    def needed_size(self) -> tuple[int, int] | None:
        """Height and width of the frames that the fully connected layers read; None without them."""
        return FC6_SIZE if self.fully_connected else None

    def _fully_connected(self, outputs: dict[str, Array], size: tuple[int, ...], train: bool) -> dict[str, Array]:
        """Return the outputs with `fc6` and `fc7`, and the latter as `feature`, and behind its dropout as `dropped`."""
        if "pool5" in outputs and outputs["pool5"].shape[1:4] == FC6_INPUT:
            x = outputs["pool5"]
        elif self.is_initializing():  # the parameters are the same for clips of any size
            x = jnp.zeros((size[0], *FC6_INPUT, outputs["pooled"].shape[-1]), self.dtype)
        else:
            raise InputError(
                f"fully_connected is True, and clips are {size[1]} frames of {size[2]}x{size[3]}; the fully connected layers "
                "of C3D read 16 frames of 112x112: set clip_length, data.height and data.width to these, or leave them out"
            )
        x = jnp.moveaxis(x, -1, 1).reshape(size[0], -1)  # channels first, as the released weights of fc6 have them
        for name in ("fc6", "fc7"):
            x = Dense(self.hidden_size, dtype=self.dtype, kernel_init=nn.initializers.he_normal(), name=name)(x)
            outputs[name] = nn.relu(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(outputs[name])
        return outputs | {"feature": outputs["fc7"].astype(jnp.float32), "dropped": x.astype(jnp.float32)}


_FIELDS = ("width", "fully_connected", "hidden_size", "dropout", "dtype")
_SIZE = {"input_size": (180, 90), "clip_length": 16}

register("c3d", C3D, _FIELDS, {"groups": EIGHT}, mean=SPORTS1M_MEAN, std=SPORTS1M_STD, **_SIZE)
# No public weights fit it, so it does not need grey levels.
register("c3d_small", C3D, ("width", "dtype"), {"groups": FIVE}, **_SIZE)
