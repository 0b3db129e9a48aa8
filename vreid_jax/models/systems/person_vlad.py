"""3D PersonVLAD: C3D, 3-D part alignment, and one VLAD sum over the parts of a clip or of a whole tracklet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.errors import InputError
from vreid_jax.models import registry
from vreid_jax.models.backbones.c3d import C3D, EIGHT, FC6_SIZE, FIVE, SPORTS1M_MEAN, SPORTS1M_STD
from vreid_jax.models.inheritance import never_trained
from vreid_jax.models.layers.heads import Classifier
from vreid_jax.models.layers.kmeans import cell_statistics, kmeans, sampled_descriptors
from vreid_jax.models.layers.norm import l2_normalize
from vreid_jax.models.layers.part_alignment import PartDescriptors, PartMaps
from vreid_jax.models.layers.vlad import VLAD, check_alpha, normalised, vlad_parameters
from vreid_jax.models.registry import Classes, Dtype, Size

AGGREGATIONS = ("vlad", "average", "max")
CLASSIFIERS = ("c3d", "feature")
STREAMS = (None, "c3d")
PART_LAYERS = ("pool5", "conv5b", "conv4b")
MOST_DESCRIPTORS = 100_000  # that k-means looks at
CENTRES = "params/vlad/centres"


class PersonVLAD(nn.Module):
    """The whole network: submodules `backbone`, `maps`, `parts`, `vlad`, and the classifiers that `classifiers` names.

    Attributes:
      num_classes: identities of the classifiers; 0 for none.
      groups: of the C3D.
      width: of the C3D.
      fully_connected: of the C3D, whose `fc7` is the feature of the stream "c3d" then, in place of `pooled`.
      clip_length: frames of a clip. More frames are several clips, M in number, which are convolved one by one.
      part_layer: the endpoint that parts are found in, "pool5" (paper), "conv5b" (for small clips) or "conv4b". What
        follows the layer in C3D then learns in the stream "c3d" alone.
      parts: "learned", `num_parts` maps; "stripes" and "grid", fixed regions; "global", which pools over the whole
        cubic and aggregates nothing: with `descriptors` "parts" the baseline "3D ConvNets + GP".
      num_parts: of the learned maps.
      descriptors: of `PartDescriptors`; they have length 1 before they are summed.
      hidden_size: of `PartDescriptors`.
      feature_size: of `PartDescriptors`.
      aggregation: "vlad", or "average" and "max" over each part's positions, with the parts' vectors concatenated:
        with `descriptors` "parts" the paper's alternatives, which have two fully connected layers behind the pooling.
      num_clusters: of `VLAD`.
      alpha: of `VLAD`, where its assignment starts when k-means has set the centres.
      assignment: of `VLAD`.
      aggregate_over: in evaluation, "clip" averages the clips' normalised vectors (Sec. IV-B), "tracklet" normalises
        the sum over all of the tracklet's descriptors (Sec. I-III).
      classifiers: "c3d" on the backbone's pooled features (output of the stream "c3d"), "feature" on the system's.
      classifier_norm: whether a batch norm comes before them; without it they see vectors of length 1.
      kmeans_before: the phase before which k-means sets the centres, unless they come trained; with "" they stay as they
        are.
      kmeans_batches: the number of training batches that k-means sees.
      dtype: of the backbone's computation.
    """

    num_classes: Classes = 0
    groups: tuple = EIGHT
    width: Size = 64
    fully_connected: bool = False
    clip_length: Size = 16
    part_layer: str = "pool5"
    parts: str = "learned"
    num_parts: Size = 6
    descriptors: str = "parts"
    hidden_size: Size = 512
    feature_size: Size = 256
    aggregation: str = "vlad"
    num_clusters: Size = 64
    alpha: float = 1000.0
    assignment: str = "soft"
    aggregate_over: str = "clip"
    classifiers: tuple[str, ...] = ()
    classifier_norm: bool = True
    kmeans_before: str = "joint"
    kmeans_batches: Size = 100
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self, clips: Float[Array | np.ndarray, "B T H W 3"], train: bool = False, stream: str | None = None
    ) -> dict[str, Array]:
        """Return the endpoints and features of normalised clips, or of M·`clip_length` frames as M clips each.

        The M clips go through C3D one by one, and all their descriptors into one sum, which is how a network is trained
        over a tracklet (`num_clips` of a phase). Besides the backbone's endpoints, of B·M clips, there are `part_maps`
        [B·M, t, h, w, P], `descriptors` [B, M·N, D] of unit length, `feature`, and with classifiers `logits`. `feature`
        has unit length and is [B, K·D] with the VLAD layer, [B, P·D] or [B, D] with the alternatives; with
        `aggregate_over` "tracklet", in evaluation, it is the sum before normalisation, whose mean over a tracklet's clips
        `tracklet_feature` takes. The stream "c3d" ends at the backbone: `feature` [B, C] is the mean of its own over the
        M clips, at unit length; the classifier reads that mean as it is, of `fc7` behind its dropout.

        Raises:
          InputError: for a field or stream out of its range, clips too small for `part_layer`, or a number of frames
            that is not a multiple of `clip_length`.
        """
        self._check(stream)
        batch, together = clips.shape[0], self._clips_together(clips.shape[1])
        clips = jnp.asarray(clips).reshape(batch * together, clips.shape[1] // together, *clips.shape[2:])
        backbone = C3D(self.groups, self.width, self.fully_connected, dtype=self.dtype, name="backbone")
        outputs = backbone(clips, train)
        if stream or self.is_initializing():
            seen = _mean_of_clips(outputs.get("dropped", outputs["feature"]), together)
            outputs |= self._logits("c3d", seen, train)
        if stream:
            return {**outputs, "feature": l2_normalize(_mean_of_clips(outputs["feature"], together))}
        if self.part_layer not in outputs:
            raise InputError(
                f"part_layer is {self.part_layer!r}, which clips of {clips.shape[1]} frames of {clips.shape[2]}x"
                f"{clips.shape[3]} do not have; take conv5b"
            )
        cubic = outputs[self.part_layer]
        maps = PartMaps(self.parts, self.num_parts, name="maps")(cubic)
        pooling = "max" if self.aggregation == "max" else "average"
        describe = PartDescriptors(self.hidden_size, self.feature_size, self.descriptors, pooling, name="parts")
        found, weights = describe(cubic, maps)
        if together > 1:
            found = _joined(found, together)
            weights = None if weights is None else _joined(weights[..., None], together)[..., 0]
        descriptors = l2_normalize(found).reshape(batch, -1, found.shape[-1])
        if self.aggregates:
            if weights is not None:  # where parts share a descriptor, it counts as often as all of them together
                weights = weights.reshape(batch, -1) if found.shape[1] > 1 else weights.sum(1)
            layer = VLAD(self.num_clusters, self.alpha, self.assignment, name="vlad")
            summed = layer(descriptors, weights).reshape(batch, -1)
        else:
            if weights is not None:
                found = weights[..., None] * found
            summed = (found.max(2) if pooling == "max" else found.mean(2)).reshape(batch, -1)
        whole = self.aggregate_over == "tracklet" and not train
        feature = summed if whole else self._finished(summed)
        outputs |= self._logits("feature", self._finished(summed), train)
        return {**outputs, "part_maps": maps, "descriptors": descriptors, "feature": feature}

    @property
    def needed_size(self) -> tuple[int, int] | None:
        """Height and width of the frames that `fully_connected` needs; None without it."""
        return FC6_SIZE if self.fully_connected else None

    @property
    def aggregates(self) -> bool:
        """Tell whether descriptors go through the VLAD layer."""
        return self.aggregation == "vlad" and self.parts != "global"

    @nn.nowrap
    def tracklet_feature(
        self, mean: Float[Array | np.ndarray, "N D"], stream: str | None = None
    ) -> Float[Array | np.ndarray, "N D"]:
        """Return the features of N tracklets, given the means of `feature` over their clips."""
        return self._finished(mean) if self.aggregate_over == "tracklet" and not stream else mean

    @nn.nowrap
    def part_maps(self, variables, clips: Float[Array | np.ndarray, "B T H W 3"]) -> Float[Array, "B t h w P"]:
        """Return the weights in [0, 1] of P parts at the positions of `part_layer` (Fig. 8), for normalised clips."""

        @jax.jit
        def maps(variables, clips) -> Array:
            return cast(dict[str, Array], self.apply(variables, clips))["part_maps"]

        return maps(variables, clips)

    @nn.nowrap
    def check_run(self, settings: Any, kept: Sequence[str], source: Mapping[str, Any]) -> None:
        """Refuse phases of clips of another length, an `alpha` without effect, and centres that would stay random.

        Raises:
          InputError: in which the field is named.
        """
        for name, phase in settings.phases.items():
            if phase.clip.num_clips > 1 and phase.clip.length != self.clip_length:
                raise InputError(
                    f"phases.{name}.clip.num_clips is {phase.clip.num_clips}; then model.clip_length, which is "
                    f"{self.clip_length}, must be phases.{name}.clip.length = {phase.clip.length}, or its clips would be "
                    "joined or cut"
                )
        before, known = self.kmeans_before, settings.phase_names
        if before not in ("", *known):
            raise InputError(f"model.kmeans_before is {before!r}, expected one of {', '.join(known)}, or ''")
        if not self.aggregates or all(phase.apply.get("stream") for phase in settings.phases.values()):
            return
        sets = source.get("model", {}).get("kmeans_before")
        if before and sets and CENTRES in kept and never_trained(source, sets, [CENTRES]):
            raise InputError(
                f"init_from {settings.init_from} brings centres that its run never set: it did not come to the phase "
                "of its model.kmeans_before; set init_patterns to what it trained, as ('backbone/.*',)"
            )
        if before and CENTRES not in kept and before not in settings.phases:
            raise InputError(
                f"model.kmeans_before is {before!r}, which is not among the phases that run, {', '.join(settings.phases)}, so "
                "that the centres would stay random: set it to one of these, or to '' to leave them so"
            )
        check_alpha(self.alpha, kept, source)

    @nn.nowrap
    def trained_parts(self, stream: str | None = None) -> dict[str, str]:
        """Return the VLAD layer with the phase that sets its centres, where a stream has it."""
        return {"vlad": self.kmeans_before} if self.aggregates and self.kmeans_before and not stream else {}

    @nn.nowrap
    def _clips_together(self, frames: int) -> int:
        """Return how many clips so many frames are: one, where they are not more than `clip_length`."""
        if frames > self.clip_length and frames % self.clip_length:
            raise InputError(
                f"clips of {frames} frames are neither one clip of {self.clip_length} frames nor several: set "
                "model.clip_length to the frames of a clip"
            )
        return max(frames // self.clip_length, 1)

    @nn.nowrap
    def _finished(self, summed):
        """Normalise the sum over descriptors to the feature."""
        if self.aggregates:
            return normalised(jnp.asarray(summed).reshape(summed.shape[0], self.num_clusters, -1))
        return l2_normalize(summed)

    def _logits(self, name: str, x: Array, train: bool) -> dict[str, Array]:
        """Return the `logits` of the classifier `name`, or nothing where there is none."""
        if self.num_classes < 1 or name not in self.classifiers:
            return {}
        return {"logits": Classifier(self.num_classes, self.classifier_norm, name=f"{name}_head")(x, train)}

    def _check(self, stream: str | None) -> None:
        """Raise `InputError` for a field or a stream out of its range."""
        for field, value, known in (
            ("stream", stream, STREAMS),
            ("aggregation", self.aggregation, AGGREGATIONS),
            ("aggregate_over", self.aggregate_over, ("clip", "tracklet")),
            ("part_layer", self.part_layer, PART_LAYERS),
            *(("classifiers", name, CLASSIFIERS) for name in self.classifiers),
        ):
            if value not in known:
                raise InputError(f"{field} is {value!r}, expected one of {', '.join(map(str, known))}")
        if not self.alpha > 0:
            raise InputError(
                f"alpha is {self.alpha}; it must be above 0, or a descriptor would be assigned to the farthest centre"
            )
        if (self.aggregation, self.aggregate_over) == ("max", "tracklet"):
            raise InputError("aggregate_over 'tracklet' sums over clips, which aggregation 'max' does not; take 'clip'")


def _mean_of_clips(x: Array, together: int) -> Array:
    """Return the means [B, D] of vectors of B·M clips, [B·M, D], over the M of each."""
    return x if together == 1 else x.reshape(-1, together, x.shape[-1]).mean(1)


def _joined(found: Array, together: int) -> Array:
    """Turn the descriptors of B·M clips, [B·M, P, L, D], into those of B sets of M, [B, P, M·L, D]."""
    clips, parts, positions, depth = found.shape
    sets = found.reshape(-1, together, parts, positions, depth).swapaxes(1, 2)
    return sets.reshape(clips // together, parts, together * positions, depth)


def prepare(phase: str, state, batches):
    """Set the centres by k-means on descriptors of the training set, before the phase `kmeans_before`.

    The same state and batches give the same centres. What the cells hold is reported (`cell_statistics`). Losses forget
    what they remember of features, which were residuals to other centres, and the classifier starts again from zero.
    Centres that came trained stay.
    """
    module = state.network.module
    if phase != module.kmeans_before or not module.aggregates or CENTRES in batches.kept:
        return state
    descriptors, people = sampled_descriptors(state, batches, MOST_DESCRIPTORS)
    centres = kmeans(descriptors.reshape(-1, descriptors.shape[-1]), module.num_clusters)
    batches.report(cell_statistics(descriptors, people, centres))
    params = {**state.params, "vlad": vlad_parameters(centres, module.alpha)}
    if head := params.get("feature_head"):
        params["feature_head"] = {**head, "classifier": jax.tree.map(jnp.zeros_like, head["classifier"])}
    return state.replace(params=params, extra={})


_FIELDS = tuple(field for field in PersonVLAD.__dataclass_fields__ if field not in ("parent", "name", "groups"))
_META = {"input_size": (180, 90), "clip_length": 16, "prepare": prepare}

registry.register("person_vlad", PersonVLAD, _FIELDS, {"groups": EIGHT}, mean=SPORTS1M_MEAN, std=SPORTS1M_STD, **_META)
registry.register("person_vlad_small", PersonVLAD, _FIELDS, {"groups": FIVE}, **_META)
