"""C3D: 3x3x3 convolutions and pooling over space and time (Tran et al., 2015)."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.errors import InputError
from vreid_jax.models.ops.conv3d import Conv
from vreid_jax.models.ops.pool import max_pool_blocks
from vreid_jax.models.registry import Dtype, Size, register

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

# Sports-1M weights expect RGB in grey levels minus a mean, without a division.
SPORTS1M_MEAN = (104 / 255, 117 / 255, 128 / 255)
SPORTS1M_STD = (1 / 255, 1 / 255, 1 / 255)


class C3D(nn.Module):
    """C3D over [B, T, H, W, 3] without its fully connected layers.

    `groups` are the convolutions between the pools: `c3d` has the 8 of the Sports-1M weights, which the figure of the
    PersonVLAD paper shows; `c3d_small` the 5 of its text (64-128-256-256-256), each named like the last of its group.
    Convolutions are 3x3x3 with bias, stride 1 and padding 1, each followed by ReLU; pools are 1x2x2, then 2x2x2,
    unpadded. `width` is the number of channels of the first convolution (64 in the paper). Parameters are float32;
    `dtype` is the dtype of the computation.
    """

    groups: tuple[tuple[tuple[str, int], ...], ...] = EIGHT
    width: Size = 64
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W 3"], train: bool = False) -> dict[str, Array]:
        """Return the endpoints of normalised clips.

        They are `conv1` … `conv5b` (after ReLU) and `pool1` … `pool5`, [B, t, h, w, C], and `pooled` [B, C], float32,
        the mean of `conv5b`, which is `feature`, too. `pool5` is missing where the clip is too small for it (8 frames leave one for `conv5b`).

        Raises:
          InputError: when the clip is too small for an earlier pool.
        """
        del train
        x = jnp.asarray(clips, self.dtype)
        outputs = {}
        for number, group in enumerate(self.groups, start=1):
            for name, features in group:
                conv = Conv(features * self.width, (3, 3, 3), padding=ONE, use_bias=True, dtype=self.dtype, name=name)
                x = outputs[name] = nn.relu(conv(x))
            block = (1 if number == 1 else 2, 2, 2)
            if all(extent >= size for extent, size in zip(x.shape[1:4], block, strict=True)):
                x = outputs[f"pool{number}"] = max_pool_blocks(x, block)
            elif number < len(self.groups):
                raise InputError(
                    f"clips of {clips.shape[1]} frames of {clips.shape[2]}x{clips.shape[3]} are too small for C3D; it "
                    "needs 8 frames of 16x16 for conv5b and 16 of 32x32 for pool5"
                )
        outputs["pooled"] = outputs["feature"] = outputs[self.groups[-1][-1][0]].astype(jnp.float32).mean((1, 2, 3))
        return outputs


_FIELDS = ("width", "dtype")
_SIZE = {"input_size": (180, 90), "clip_length": 16}

register("c3d", C3D, _FIELDS, {"groups": EIGHT}, mean=SPORTS1M_MEAN, std=SPORTS1M_STD, **_SIZE)
# No public weights fit it, so it does not need grey levels.
register("c3d_small", C3D, _FIELDS, {"groups": FIVE}, **_SIZE)
