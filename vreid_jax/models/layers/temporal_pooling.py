"""From the features of frames to one of the clip, by what each frame says of itself (Fig. 1 of the 3-D ResNet paper)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.models.ops.conv3d import Conv, spatial_padding


class TemporalAttention(nn.Module):
    """The mean over frames weighted by softmax_t of a score that a 3x3 convolution and a fully connected layer give.

    The paper shows "spatial conv + FC"; 3x3 kernels to `hidden` channels, a ReLU and the mean over positions between
    the two are a choice that leaves the size of the input free. float32.
    """

    hidden: int = 256

    @nn.compact
    def __call__(self, maps: Float[Array, "B T H W C"], pooled: Float[Array, "B T C"]) -> Float[Array, "B C"]:
        """`maps` decide how much each frame of `pooled` counts."""
        x = Conv(self.hidden, (3, 3), padding=spatial_padding(3), use_bias=True, name="conv")(maps)
        # Without a bias: one number added to all scores is nothing to the softmax.
        scores = nn.Dense(1, use_bias=False, name="score")(nn.relu(x).mean((2, 3)))
        return (jax.nn.softmax(scores, axis=1) * pooled.astype(jnp.float32)).sum(1)


class LastState(nn.Module):
    """The hidden state of an LSTM of `hidden` units after the last frame: [B, T, C] → [B, hidden], float32."""

    hidden: int = 512

    @nn.compact
    def __call__(self, pooled: Float[Array, "B T C"]) -> Float[Array, "B D"]:
        """Reads the frames in order."""
        states = nn.RNN(nn.OptimizedLSTMCell(self.hidden, name="lstm"))(pooled.astype(jnp.float32))
        return states[:, -1]
