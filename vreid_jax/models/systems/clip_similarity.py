"""Learned clip-similarity aggregation: I3D features of clips, and a network that weighs every pair of clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from vreid_jax.errors import InputError
from vreid_jax.models import registry
from vreid_jax.models.backbones.inception_i3d import HALF
from vreid_jax.models.layers.clip_similarity import ClipAggregation, average_similarity, clip_cosines, top_t
from vreid_jax.models.layers.dense import Dense
from vreid_jax.models.layers.norm import l2_normalize
from vreid_jax.models.registry import Classes, Dropout, Dtype, Size

STAGES = ("features", "similarity")
KINDS = ("learned", "top_t", "average")
PARTS = {"learned": "aggregation", "top_t": "projection"}  # kind -> what a phase of that kind trains


class Projection(nn.Module):
    """The linear layer of the top-t rule, from D to D features."""

    @nn.compact
    def __call__(self, clips: Float[Array, "N M D"]) -> Float[Array, "N M D"]:
        """Project clip features, float32."""
        return Dense(clips.shape[-1], name="dense")(clips)


class ClipSimilarity(nn.Module):
    """I3D features of clips, and the similarity of tracklets as sets of clips.

    The submodules are `features` (I3D), `classifier`, `aggregation` (g of the paper) and `projection` (of the top-t
    rule). `backbone` is the registered network of the features and `width` its width; `clip_length` the frames of a
    clip; `hidden` and `dropout` are those of g.
    """

    num_classes: Classes = 0
    backbone: str = "i3d_inception_v1"
    width: Size = 64
    clip_length: Size = 4
    hidden: tuple[Size, ...] = (1024, 1024)
    dropout: Dropout = 0.5
    dtype: Dtype = "float32"

    def setup(self) -> None:
        """Make the submodules."""
        self.features = registry.create(self.backbone, width=self.width, dtype=self.dtype)
        self.classifier = Dense(self.num_classes, use_bias=False) if self.num_classes else None
        self.aggregation = ClipAggregation(self.hidden, self.dropout, self.dtype)
        self.projection = Projection()

    def __call__(
        self,
        clips: Float[Array | np.ndarray, "B T H W 3"] | Int[Array, "B M"],
        train: bool = False,
        stage: str = "features",
        kind: str = "learned",
        t: float | int = 100,
    ) -> dict[str, Array]:
        """Return the features of clips, or of tracklets as sets of clips, and the similarity of these.

        Stage "features": one clip each. The outputs are I3D's endpoints, `feature` [B, D] (its `pooled`), and `logits`.
        Stage "similarity": the T frames are M clips of `clip_length`, and I3D is frozen, its batch norm too; or `clips`
        are rows of the cache that `prepare` made. The outputs are the features `clips` [B, M, D], the mean `feature` of
        the normalised ones, and `similarity` [B, B] of the batch with itself, of `kind` (see `similarity`).
        """
        if stage not in STAGES:
            raise InputError(f"stage is {stage!r}; it is one of {', '.join(STAGES)}")
        if stage == "features":
            outputs = self.features(clips, train)
            outputs["feature"] = outputs["pooled"]
            if self.classifier is not None:
                outputs["logits"] = self.classifier(outputs["pooled"])
            if self.is_initializing():
                self._touch(outputs["pooled"][:1, None])
            return outputs
        found = self._clip_features(clips)
        return {
            "clips": found,
            "feature": l2_normalize(found).mean(1),
            "similarity": self._similarity(found, found, kind, t, True, train),
        }

    def _clip_features(self, clips) -> Float[Array, "B M D"]:
        """Compute the features of the clips of tracklets, or read them from the cache."""
        if clips.ndim == 2:
            return self.get_variable("cache", "clip_features")[clips]
        b, frames, *size = clips.shape
        if frames % self.clip_length:
            raise InputError(f"{frames} frames are not a whole number of clips of clip_length = {self.clip_length}")
        clips = clips.reshape(-1, self.clip_length, *size)
        return jax.lax.stop_gradient(self.features(clips, False)["pooled"]).reshape(b, frames // self.clip_length, -1)

    def similarity(
        self,
        query: Float[Array | np.ndarray, "Q M D"],
        gallery: Float[Array | np.ndarray, "G N D"],
        kind: str = "learned",
        t: float | int = 100,
        normalize: bool = True,
    ) -> Float[Array, "Q G"]:
        """Return the similarities of tracklets, at most 1 for normalised clips; call it with `method="similarity"`.

        Args:
          query: features of the clips of Q tracklets; they need not be normalised.
          gallery: the same of G tracklets.
          kind: "learned" (Eq. 1-4), "top_t" (Eq. 9 over projected clips), or "average" (of the mean of the clips).
          t: the percentage of "top_t".
          normalize: "average" normalises the clips to length 1 first.
        """
        return self._similarity(jnp.asarray(query), jnp.asarray(gallery), kind, t, normalize, False)

    def similarity_bound(
        self,
        query: Float[Array | np.ndarray, "Q M D"],
        gallery: Float[Array | np.ndarray, "G N D"],
        kind: str = "learned",
        t: float | int = 100,
        normalize: bool = True,
    ) -> Float[Array, "Q G"]:
        """Return what the similarities of tracklets do not pass, at a two-thousandth of their cost; see `similarity`.

        "learned" and "top_t" are means of cosines of clips with positive weights: the bound is the largest of them.
        """
        query, gallery = jnp.asarray(query), jnp.asarray(gallery)
        if kind == "learned":
            return clip_cosines(query, gallery).max((2, 3))
        if kind == "top_t":
            return clip_cosines(*(self.projection(l2_normalize(x)) for x in (query, gallery))).max((2, 3))
        return self._similarity(query, gallery, kind, t, normalize, False)

    def importance(
        self, query: Float[Array | np.ndarray, "Q M D"], gallery: Float[Array | np.ndarray, "G N D"]
    ) -> Float[Array, "Q G M N"]:
        """Return α_t of every pair of clips, the query's clip first; the features need not be normalised."""
        return self.aggregation(l2_normalize(jnp.asarray(query)), l2_normalize(jnp.asarray(gallery)))[1]

    @nn.nowrap
    def check_scored(self, settings: Any, kept: Sequence[str], source: Mapping[str, Any]) -> None:
        """Refuse to compare tracklets by the random part of a kind of which no phase was.

        Raises:
          InputError: in which the kind and the part are named.
        """
        kind = settings.evaluation.similarity.get("kind", KINDS[0])
        part = PARTS.get(kind)
        if part is None or all(stream.average for stream in settings.evaluation.streams.values()):
            return
        own = _kinds(phase.apply for phase in settings.phases.values())
        if kind in own:
            return
        if any(name.startswith(f"params/{part}/") for name in kept):
            order, phases = source.get("phase_order"), source.get("phases", {})
            theirs = _kinds(phases.get(name, {}).get("apply", {}) for name in order or ())
            if kind in theirs or (not theirs and (order is None or source.get("init_from"))):
                return
        others = " or ".join(repr(name) for name in (*sorted(own), "average"))
        raise InputError(
            f"evaluation.similarity.kind is {kind!r}, and the evaluation would score the part {part!r} of the network "
            f"untrained: no phase that this run has, or that its start had, is of apply.kind = {kind!r}; train with "
            f"phases.similarity.apply.kind={kind}, or score by {others}"
        )

    def _similarity(self, query, gallery, kind: str, t: float | int, normalize: bool, train: bool):
        """Return the similarity [Q, G] of a kind; see `similarity`."""
        if kind == "learned":
            return self.aggregation(l2_normalize(query), l2_normalize(gallery), train)[0]
        if kind == "top_t":
            return top_t(clip_cosines(self.projection(l2_normalize(query)), self.projection(l2_normalize(gallery))), t)
        if kind == "average":
            return average_similarity(query, gallery, normalize)
        raise InputError(f"the similarity of clips is of kind {kind!r}; it is one of {', '.join(KINDS)}")

    def _touch(self, clips: Float[Array, "1 1 D"]) -> None:
        """Make the parameters that the stage "features" does not use."""
        for kind in ("learned", "top_t"):
            self._similarity(clips, clips, kind, 100, True, False)


def _kinds(applied: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the kinds of similarity that phases with these keyword arguments train."""
    return {apply.get("kind", KINDS[0]) for apply in applied if apply.get("stage") == "similarity"}


def prepare(phase: str, state, batches):
    """Compute the features of every clip that a phase with `cache_features` can draw; drop those of another phase."""
    del phase
    extra = {name: value for name, value in state.extra.items() if name != "cache"}
    if batches.phase.cache_features:
        extra["cache"] = {"clip_features": batches.clip_features(state)}
    return state.replace(extra=extra)


registry.register(
    "clip_similarity",
    ClipSimilarity,
    tuple(field for field in ClipSimilarity.__dataclass_fields__ if field not in ("parent", "name")),
    {},
    mean=HALF,
    std=HALF,
    clip_length=4,
    prepare=prepare,
    similarity=ClipSimilarity.similarity,
)
