"""ResNet-50 on frames with a batch norm neck (Luo et al., 2019), as FastReID and reid-strong-baseline compute it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.models.backbones.resnet import ResNet, StemPool
from vreid_jax.models.layers.dense import Dense
from vreid_jax.models.layers.norm import BatchNorm
from vreid_jax.models.registry import Classes, Dtype, Size, Stages, register


class Neck(nn.Module):
    """A batch norm gives the feature of a frame; a classifier without bias follows. All is float32."""

    num_classes: int = 0

    @nn.compact
    def __call__(self, pooled: Float[Array, "B T C"], train: bool = False) -> dict[str, Array]:
        """Return `feature` [B, C], the mean over frames, and with classes `logits` [B, num_classes] of it."""
        feature = BatchNorm(not train, name="bn")(pooled.astype(jnp.float32)).mean(1)
        outputs = {"feature": feature}
        if self.num_classes > 0:
            outputs["logits"] = Dense(self.num_classes, use_bias=False, name="classifier")(feature)
        return outputs


class ResNetBNNeck(nn.Module):
    """A 2-D ResNet over [B, T, H, W, 3], its mean over positions, and a batch norm whose output is the feature.

    Attributes:
      num_classes: of the classifier, which has no bias; 0 for none.
      width: as in `ResNet`.
      stage_sizes: likewise.
      last_stride: likewise.
      stem_relu: likewise; False for the weights of reid-strong-baseline.
      stem_pool: likewise; "ceil" for the weights of FastReID since August 2020.
      dtype: of the computation; the neck and the classifier are float32, and so are all parameters.
      remat: recompute each bottleneck in the backward pass.
    """

    num_classes: Classes = 0
    width: Size = 64
    stage_sizes: Stages = (3, 4, 6, 3)
    last_stride: int = 1
    stem_relu: bool = True
    stem_pool: StemPool = "padded"
    dtype: Dtype = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W 3"], train: bool = False) -> dict[str, Array]:
        """Return the endpoints of normalised clips.

        They are those of `ResNet`, with `pooled` (before the neck) and `feature` (behind it) [B, 32 width] means over
        frames, float32, and with classes `logits` [B, num_classes].
        """
        resnet = ResNet(
            width=self.width,
            stage_sizes=self.stage_sizes,
            last_stride=self.last_stride,
            stem_relu=self.stem_relu,
            stem_pool=self.stem_pool,
            dtype=self.dtype,
            remat=self.remat,
            name="backbone",
        )
        outputs = resnet(clips, train)
        head = Neck(self.num_classes, name="head")(outputs["pooled"], train)
        return {**outputs, "pooled": outputs["pooled"].mean(1), **head}

    @nn.nowrap
    def unshaped(self) -> dict[str, Any]:
        """Return the fields by which it computes, of those that no tensor shows."""
        return {"stem_relu": self.stem_relu, "stem_pool": self.stem_pool}


register(
    "resnet50_bnneck",
    ResNetBNNeck,
    ("num_classes", "width", "stage_sizes", "last_stride", "stem_relu", "stem_pool", "dtype", "remat"),
    {},
    clip_length=1,
    metric="cosine",
)
