"""The strong baseline of today: a 2-D backbone on frames, pooling over time, and a batch norm as the neck.

Luo et al.: Bag of Tricks and a Strong Baseline for Deep Person Re-identification, 2019, from pictures to clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn
from flax.core import FrozenDict
from jaxtyping import Array, Float

from vreid_jax.errors import InputError
from vreid_jax.models import registry
from vreid_jax.models.backbones import frames
from vreid_jax.models.layers.heads import BatchNormNeck
from vreid_jax.models.layers.temporal_pooling import LastState, TemporalAttention
from vreid_jax.models.registry import Classes, Dtype, Size

POOLINGS = ("average", "attention", "rnn")


class StrongBaseline(nn.Module):
    """Features of frames, pooled over time, with a `BatchNormNeck`.

    Attributes:
      num_classes: identities of the classifier; 0 for none.
      backbone: a name of `backbones.frames`; its own last stride of `resnet50` is 1.
      backbone_fields: of that backbone, where they differ from its defaults.
      pooling: over time: "average", "attention" (`TemporalAttention`) or "rnn" (`LastState`).
      attention_size: hidden channels of the attention.
      lstm_size: units of the LSTM, the length of its feature.
      losses_behind: whether losses that compare features see them behind the neck, as retrieval does: for a loss without
        a classifier beside it.
      dtype: of the backbone's computation.
    """

    num_classes: Classes = 0
    backbone: str = "resnet50"
    backbone_fields: Mapping[str, Any] = FrozenDict()
    pooling: str = "average"
    attention_size: Size = 256
    lstm_size: Size = 512
    losses_behind: bool = False
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W 3"], train: bool = False) -> dict[str, Array]:
        """Return the backbone's endpoints of normalised clips, and what the neck returns.

        `feature` [B, D] is what losses compare while training, before the neck unless `losses_behind`, and what
        retrieval compares by the cosine otherwise, behind it.

        Raises:
          InputError: for an unknown backbone or pooling.
        """
        if self.pooling not in POOLINGS:
            raise InputError(f"pooling is {self.pooling!r}, expected one of {', '.join(POOLINGS)}")
        chosen = frames.backbone(self.backbone)
        outputs = self._frames().clone(name="frames", parent=self)(clips, train)
        pooled = outputs["pooled"]
        if self.pooling == "average":
            pooled = pooled.mean(1)
        elif self.pooling == "attention":
            pooled = TemporalAttention(self.attention_size, name="pooling")(outputs[chosen.maps], pooled)
        else:
            pooled = LastState(self.lstm_size, name="pooling")(pooled)
        return {**outputs, **BatchNormNeck(self.num_classes, self.losses_behind, name="neck")(pooled, train)}

    @nn.nowrap
    def unshaped(self) -> Mapping[str, Any]:
        """Return the fields by which its backbone computes, of those that no tensor shows."""
        return registry.unshaped(self._frames())

    @nn.nowrap
    def _frames(self) -> nn.Module:
        return frames.backbone(self.backbone).make(**{**self.backbone_fields, "dtype": self.dtype})


registry.register(
    "strong_baseline",
    StrongBaseline,
    tuple(field for field in StrongBaseline.__dataclass_fields__ if field not in ("parent", "name")),
    {},
)
