"""The 3-D ResNet with non-local attention, and the 2-D networks that its paper compares it with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.core import FrozenDict
from jaxtyping import Array, Float

from vreid_jax.errors import InputError
from vreid_jax.models import registry
from vreid_jax.models.layers.heads import BottleneckHead
from vreid_jax.models.layers.non_local import attention_logits
from vreid_jax.models.layers.temporal_pooling import LastState, TemporalAttention
from vreid_jax.models.registry import Classes, Dropout, Dtype, Size, Stages, StemLength

ON_CLIPS = {"separable": "resnet50_separable", "inflated": "resnet3d_50"}
ON_FRAMES = ("average", "attention", "rnn")
EVERY_OTHER = FrozenDict({"res3": (1, 3), "res4": (1, 3, 5)})


class NonLocal3D(nn.Module):
    """A ResNet-50 over clips or frames, pooled to one vector, and the paper's "bottleneck" head.

    `network` is "separable" (3x1x1 then 1x3x3, the default) or "inflated" (3x3x3: ResNet3D-50 of Hara et al., which
    Kinetics weights fit), with `non_local` blocks after the bottlenecks that `non_local_after` names; or ResNet-50 on
    frames, without blocks, and over time an "average" (the paper's baseline), temporal "attention", or an "rnn".
    The blocks in res3 and res4 follow every other bottleneck, counted from 0 (a choice; it overrules "right before the
    last residual block of a stage"). `feature_size` is a choice, since the paper gives no number. `last_stride` 0,
    `stem_length` 0 and `temporal_strides` () mean those of the registered backbone. In every network over clips shortcuts
    take the mean of the frames that they merge and the pool is one of space (both **choice**: every frame then counts at the
    start); Kinetics weights need `temporal_shortcut` "subsample" and a `temporal_pool`.
    """

    num_classes: Classes = 0
    network: str = "separable"
    non_local: bool = True
    non_local_after: Mapping[str, tuple[int, ...]] = EVERY_OTHER
    non_local_scale: float = 1.0
    non_local_subsample: bool = False
    width: Size = 64
    stage_sizes: Stages = (3, 4, 6, 3)
    last_stride: int = 0
    stem_length: StemLength = 0
    temporal_strides: tuple[int, ...] = ()
    temporal_shortcut: str = "mean"
    temporal_pool: bool = False
    feature_size: Size = 512
    attention_size: Size = 256
    lstm_size: Size = 512
    dropout: Dropout = 0.5
    dtype: Dtype = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W 3"], train: bool = False) -> dict[str, Array]:
        """Return the backbone's endpoints of normalised clips, `feature` [B, feature_size], and perhaps `logits`."""
        outputs = self._backbone().clone(name="backbone", parent=self)(clips, train)
        pooled = outputs["pooled"]
        if self.network == "average":
            pooled = pooled.mean(1)
        elif self.network == "attention":
            pooled = TemporalAttention(self.attention_size, name="pooling")(outputs["res5"], pooled)
        elif self.network == "rnn":
            pooled = LastState(self.lstm_size, name="pooling")(pooled)
        head = BottleneckHead(self.feature_size, self.num_classes, self.dropout, name="head")
        return {**outputs, **head(pooled, train)}

    @nn.nowrap
    def _backbone(self) -> nn.Module:
        """Make the registered backbone that `network` names."""
        fields: dict[str, Any] = {"width": self.width, "stage_sizes": self.stage_sizes}
        fields |= {"dtype": self.dtype, "remat": self.remat}
        if self.last_stride:
            fields["last_stride"] = self.last_stride
        if self.network in ON_FRAMES:
            name = "resnet50"
        elif self.network in ON_CLIPS:
            name = ON_CLIPS[self.network]
            chosen = {"stem_length": self.stem_length, "temporal_strides": self.temporal_strides}
            fields |= {field: value for field, value in chosen.items() if value}
            fields |= {"temporal_shortcut": self.temporal_shortcut, "temporal_pool": self.temporal_pool}
            if self.non_local:
                fields["non_local_after"] = self.non_local_after
                fields["non_local_scale"] = self.non_local_scale
                fields["non_local_subsample"] = self.non_local_subsample
        else:
            known = ", ".join((*ON_CLIPS, *ON_FRAMES))
            raise InputError(f"network is {self.network!r}, expected one of {known}")
        return registry.create(name, **fields)

    @nn.nowrap
    def unshaped(self) -> Mapping[str, Any]:
        """Return the fields by which its backbone computes, of those that no tensor shows."""
        return registry.unshaped(self._backbone())

    @nn.nowrap
    def attention_map(
        self,
        variables: dict,
        clips: Float[Array | np.ndarray, "B T H W 3"],
        position: tuple[int, int, int],
        block: str = "",
    ) -> Float[Array, "B t h w"]:
        """Return what one position of a clip attends to (Fig. 6): the softmax over all positions of a block's input.

        Args:
          variables: of the model.
          clips: normalised floats.
          position: (frame, row, column) in the pixels of `clips`; the map's cell that it lies in is the query.
          block: a name such as "non_local2_3" (stage 2, which is res3, after bottleneck 3); "" for the last block of
            the first stage that has any, whose map is the finest.

        Returns:
          The weights, float32, which sum to 1 over t, h, w; with `non_local_subsample` h and w are halved.

        Raises:
          InputError: when the network has no such block, or the position lies outside the clip.
        """
        # Under jit nothing after the last block is computed, and what does not fit is said before anything is.
        see = jax.jit(lambda *args: self.apply(*args, mutable=["intermediates"])[1])
        shapes = see.eval_shape(variables, clips).get("intermediates", {}).get("backbone", {})
        names = sorted(shapes, key=_stage_and_bottleneck)
        if not names:
            raise InputError(f"network {self.network!r} with non_local = {self.non_local} has no non-local block")
        if not block:
            block = [name for name in names if _stage_and_bottleneck(name)[0] == _stage_and_bottleneck(names[0])[0]][-1]
        if block not in names:
            raise InputError(f"there is no block {block!r}; the blocks are {', '.join(names)}")
        sizes = clips.shape[1:4]
        if any(not 0 <= p < size for p, size in zip(position, sizes, strict=True)):
            raise InputError(f"position {position} lies outside the clip's frames, rows and columns, {sizes}")
        sown = see(variables, clips)["intermediates"]["backbone"][block]
        theta, phi = (sown[part][0] for part in ("theta_map", "phi_map"))
        t, h, w = (p * cells // size for p, cells, size in zip(position, theta.shape[1:4], sizes, strict=True))
        keys = phi.reshape(len(phi), -1, phi.shape[-1])
        logits = attention_logits(theta[:, t, h, w][:, None], keys, self.non_local_scale)[:, 0]
        return jax.nn.softmax(logits, axis=-1).reshape(phi.shape[:4])


def _stage_and_bottleneck(block: str) -> tuple[int, ...]:
    """Parse (stage, bottleneck) from a block's name."""
    return tuple(map(int, block.removeprefix("non_local").split("_")))


registry.register(
    "nonlocal3d",
    NonLocal3D,
    tuple(field for field in NonLocal3D.__dataclass_fields__ if field not in ("parent", "name")),
    {},
)
