"""Heads: the vector that retrieval compares, made of pooled features, and the classifier that trains it."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.models.layers.dense import Dense
from vreid_jax.models.layers.norm import BatchNorm


class IdentityHead(nn.Module):
    """A fully connected layer gives the `feature`; batch norm, ReLU, dropout and a classifier follow, all in float32.

    `features` is the length of the feature; with `num_classes` 0 nothing follows it.
    """

    features: int = 128
    num_classes: int = 0
    dropout: float = 0.5

    @nn.compact
    def __call__(self, pooled: Float[Array, "B *T C"], train: bool = False) -> dict[str, Array]:
        """Return `feature` [B, features], averaged over T where `pooled` has frames, and `logits` [B, num_classes]."""
        feature = Dense(self.features, name="feature")(pooled.astype(jnp.float32))
        if feature.ndim == 3:
            feature = feature.mean(1)
        outputs = {"feature": feature}
        if self.num_classes > 0:
            x = nn.relu(BatchNorm(not train, name="bn")(feature))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            outputs["logits"] = Dense(self.num_classes, name="classifier")(x)
        return outputs


class Classifier(nn.Module):
    """A fully connected layer over the training identities, behind a batch norm unless `norm` is False; float32."""

    num_classes: int
    norm: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B D"], train: bool = False) -> Float[Array, "B N"]:
        """Return the logits of vectors."""
        x = x.astype(jnp.float32)
        if self.norm:
            x = BatchNorm(not train, name="bn")(x)
        return Dense(self.num_classes, name="classifier")(x)


class BottleneckHead(nn.Module):
    """A fully connected layer, batch norm and LeakyReLU 0.1 give the `feature`; dropout and a classifier follow.

    All is float32. `features` is the length of the feature; with `num_classes` 0 nothing follows it. The fully
    connected layer has no bias, which the batch norm would subtract again.
    """

    features: int = 512
    num_classes: int = 0
    dropout: float = 0.5

    @nn.compact
    def __call__(self, pooled: Float[Array, "B C"], train: bool = False) -> dict[str, Array]:
        """Return `feature` [B, features], and `logits` [B, num_classes]."""
        x = Dense(self.features, use_bias=False, name="fc")(pooled.astype(jnp.float32))
        feature = nn.leaky_relu(BatchNorm(not train, name="bn")(x), 0.1)
        outputs = {"feature": feature}
        if self.num_classes > 0:
            x = nn.Dropout(self.dropout, deterministic=not train)(feature)
            outputs["logits"] = Dense(self.num_classes, name="classifier")(x)
        return outputs


class BatchNormNeck(nn.Module):
    """A batch norm without bias between the feature of metric losses and that of the classifier and of retrieval.

    Luo et al. 2019, section III-F ("BNNeck"). The classifier has no bias and starts near zero. All is float32; with
    `num_classes` 0 there is no classifier.
    """

    num_classes: int = 0
    losses_behind: bool = False

    @nn.compact
    def __call__(self, pooled: Float[Array, "B C"], train: bool = False) -> dict[str, Array]:
        """Return `before_neck` and `feature` [B, C], and `logits` [B, num_classes].

        `feature` is the batch norm's output, but `before_neck` while training unless `losses_behind`, for losses that
        compare features.
        """
        before = pooled.astype(jnp.float32)
        behind = BatchNorm(not train, use_bias=False, name="bn")(before)
        outputs = {"before_neck": before, "feature": before if train and not self.losses_behind else behind}
        if self.num_classes > 0:
            start = nn.initializers.normal(0.001)
            outputs["logits"] = Dense(self.num_classes, use_bias=False, kernel_init=start, name="classifier")(behind)
        return outputs
