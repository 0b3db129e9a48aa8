"""Temporal pooling: one feature of a clip from those of its frames (Fig. 1 of the 3-D ResNet paper)."""

from __future__ import annotations

from typing import cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.models.layers.dense import Dense
from vreid_jax.models.ops.conv3d import Conv, spatial_padding


class TemporalAttention(nn.Module):
    """The mean over frames, weighted by softmax_t of a score from a 3x3 convolution and a fully connected layer.

    The paper shows "spatial conv + FC". The 3x3 kernels to `hidden` channels, and the ReLU and the mean over positions
    between the two, are a choice that leaves the size of the input free. All is float32.
    """

    hidden: int = 256

    @nn.compact
    def __call__(self, maps: Float[Array, "B T H W C"], pooled: Float[Array, "B T D"]) -> Float[Array, "B D"]:
        """Return the mean of `pooled` over the frames, weighted by scores of `maps`."""
        x = Conv(self.hidden, (3, 3), padding=spatial_padding(3), use_bias=True, name="conv")(maps)
        # No bias: the softmax ignores a number that is added to all scores.
        scores = Dense(1, use_bias=False, name="score")(nn.relu(x).mean((2, 3)))
        return (jax.nn.softmax(scores, axis=1) * pooled.astype(jnp.float32)).sum(1)


class LastState(nn.Module):
    """The hidden state of an LSTM of `hidden` units after the last frame: [B, T, C] → [B, hidden], float32."""

    hidden: int = 512

    @nn.compact
    def __call__(self, pooled: Float[Array, "B T C"]) -> Float[Array, "B D"]:
        """Read the frames in order and return the last state."""
        states = nn.RNN(nn.OptimizedLSTMCell(self.hidden, name="lstm"))(pooled.astype(jnp.float32))
        return cast(Array, states)[:, -1]  # alone: the carry is not asked for
