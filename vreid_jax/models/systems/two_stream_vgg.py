"""Two VGG-16 networks, on frames and on optical flow: the two-stream rows of the PersonVLAD paper (Table VII)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.config.fields import matching
from vreid_jax.config.inputs import CHANNELS, RGB_CHANNELS
from vreid_jax.errors import InputError
from vreid_jax.models import registry
from vreid_jax.models.backbones.vgg import VGG16
from vreid_jax.models.inheritance import check_streams
from vreid_jax.models.layers.heads import Classifier
from vreid_jax.models.layers.inflation import flow_kernel
from vreid_jax.models.layers.kmeans import kmeans, sampled_descriptors
from vreid_jax.models.layers.norm import l2_normalize
from vreid_jax.models.layers.vlad import VLAD, check_alpha, normalised, vlad_parameters
from vreid_jax.models.registry import Classes, Dropout, Dtype, Size

SINGLE = {"spatial": "frames", "temporal": "flow"}
FUSIONS = ("max", "average", "product", "scores")
STREAMS = (*SINGLE, *FUSIONS, "vlad")
MAPS = "conv5_3"
DESCRIPTORS = 50_000  # of each stream, at most, that k-means sees


class TwoStreamVGG(nn.Module):
    """Submodules `spatial` and `temporal`, VGG-16 each with a classifier, and with `num_clusters` a VLAD layer of each.

    Attributes:
      num_classes: identities of the classifiers; 0 for none.
      width: of `VGG16`.
      hidden_size: of `VGG16`.
      dropout: of `VGG16`.
      batch_norm: of `VGG16`.
      num_clusters: of the VLAD layers of the stream "vlad"; 0 for none.
      alpha: of `VLAD`, where its assignment starts when k-means has set the centres.
      kmeans_batches: the number of training batches that k-means sees before the phase "vlad".
      dtype: of the computation.
    """

    num_classes: Classes = 0
    width: Size = 64
    hidden_size: Size = 4096
    dropout: Dropout = 0.5
    batch_norm: bool = False
    num_clusters: Classes = 0
    alpha: float = 1000.0
    kmeans_batches: Size = 100
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self, clips: Float[Array | np.ndarray, "B T H W C"], train: bool = False, stream: str | None = None
    ) -> dict[str, Array]:
        """Return `feature` and, with classes, `logits` of normalised clips: frames and stacks of flow that begin there.

        The streams "spatial" and "temporal" are a network alone; its `feature` is the mean of its fc7 over the T
        positions. Of both networks "max", "average" and "product" (None is "product") fuse the two fc7 of every position
        element by element, and "scores" takes the mean of the two `logits` for the feature; `logits` are that mean (late
        fusion, before the softmax). "vlad" sums the residuals of all conv5_3 vectors of a clip, of either network by
        itself, and joins the two (ActionVLAD; Girdhar et al. 2017): `descriptors` [B, N, 2, D] are the vectors. In
        evaluation its `feature` is the sum, which `tracklet_feature` normalises.

        Raises:
          InputError: for an unknown stream, or clips of other channels than the stream reads.
        """
        inputs = self.inputs(stream)
        registry.check_channels(clips, inputs, f"stream {stream or FUSIONS[2]}")
        make = {
            name: VGG16(
                self.num_classes,
                CHANNELS[kind],
                self.width,
                self.hidden_size,
                self.dropout,
                self.batch_norm,
                self.dtype,
                name=name,
            )
            for name, kind in SINGLE.items()
        }
        if stream in SINGLE:
            return make[stream](clips, train)
        spatial, temporal = (
            make["spatial"](clips[..., :RGB_CHANNELS], train),
            make["temporal"](clips[..., RGB_CHANNELS:], train),
        )
        outputs = self._aggregated(spatial, temporal, train) if stream == "vlad" or self._initialises_vlad() else {}
        if stream == "vlad":
            return outputs
        logits = {}
        if self.num_classes > 0:
            logits = {"logits": (spatial["logits"] + temporal["logits"]) / 2}
        return {**logits, "feature": self._fused(stream or "product", spatial, temporal, logits)}

    @nn.nowrap
    def inputs(self, stream: str | None = None) -> str:
        """Return what a stream reads.

        Raises:
          InputError: for an unknown stream.
        """
        if stream is not None and stream not in STREAMS:
            raise InputError(f"stream is {stream!r}, expected one of {', '.join(STREAMS)}, or None for product")
        return SINGLE.get(stream or "", "both")

    @nn.nowrap
    def tracklet_feature(
        self, mean: Float[Array | np.ndarray, "N D"], stream: str | None = None
    ) -> Float[Array | np.ndarray, "N D"]:
        """Return the features of N tracklets, given the means of `feature` over their clips."""
        if stream != "vlad":
            return mean
        halves = jnp.split(jnp.asarray(mean), 2, axis=1)
        return self._joined(*(half.reshape(len(half), self.num_clusters, -1) for half in halves))

    def _initialises_vlad(self) -> bool:
        return self.is_initializing() and self.num_clusters > 0

    @staticmethod
    def _fused(stream: str, spatial: dict[str, Array], temporal: dict[str, Array], logits: dict[str, Array]) -> Array:
        """Return the mean over positions of two fc7 that are fused element by element, or the mean scores."""
        if stream == "scores":
            if not logits:
                raise InputError("stream scores needs the classifiers that the networks were trained with")
            return logits["logits"]
        a, b = (outputs["fc7"].astype(jnp.float32) for outputs in (spatial, temporal))
        fused = {"max": jnp.maximum(a, b), "average": (a + b) / 2, "product": a * b}[stream]
        return fused.mean(1)

    def _aggregated(self, spatial: dict[str, Array], temporal: dict[str, Array], train: bool) -> dict[str, Array]:
        """Return the outputs of the stream "vlad"."""
        if not self.num_clusters:
            raise InputError("stream vlad needs model.num_clusters above 0")
        sums, found = [], []
        for name, outputs in (("spatial", spatial), ("temporal", temporal)):
            maps = outputs[MAPS]
            descriptors = l2_normalize(maps).reshape(maps.shape[0], -1, maps.shape[-1])
            found.append(descriptors)
            sums.append(VLAD(self.num_clusters, self.alpha, name=f"vlad_{name}")(descriptors))
        feature = self._joined(*sums)
        outputs = {"descriptors": jnp.stack(found, 2)}
        if self.num_classes > 0:
            outputs["logits"] = Classifier(self.num_classes, name="vlad_head")(feature, train)
        if not train:  # summed over the clips of a tracklet before it is normalised
            positions = found[0].shape[1]
            feature = jnp.concatenate([each.reshape(each.shape[0], -1) for each in sums], 1) / positions
        return {**outputs, "feature": feature}

    @nn.nowrap
    def check_run(self, settings: Any, kept: Sequence[str], source: Mapping[str, Any]) -> None:
        """Raise `InputError` for an `alpha` without effect, and networks or classifiers that nothing has trained."""
        check_streams(settings, kept, source, self.trained_parts, foreign=SINGLE)
        check_alpha(self.alpha, kept, source)
        if not any(stream.apply.get("stream") == "scores" for stream in settings.evaluation.streams.values()):
            return
        for name in SINGLE:
            kernel = f"{name}/classifier/kernel"
            streams = (
                phase.apply.get("stream") for phase in settings.phases.values() if matching([kernel], phase.train)
            )
            if f"params/{kernel}" not in kept and not any(
                s != "vlad" and name in self.trained_parts(s) for s in streams
            ):
                raise InputError(
                    f"the stream scores would take the classifier of the network {name!r}, which no phase trains and "
                    f"init_from does not bring for so many people: train it in a phase {name!r}, alone with "
                    f"phases.{name}.train=('{name}/classifier/.*',), or take the stream out of evaluation.streams"
                )

    @nn.nowrap
    def trained_parts(self, stream: str | None = None) -> dict[str, str]:
        """Return the networks of a stream, "vlad" for the VLAD layers, each with the phase that trains it."""
        if stream in SINGLE:
            return {stream: stream}
        return {name: name for name in ((*SINGLE, "vlad") if stream == "vlad" else SINGLE)}

    @nn.nowrap
    def _joined(self, spatial: Float[Array, "B K D"], temporal: Float[Array, "B K D"]) -> Float[Array, "B F"]:
        """Normalise the sums of each network, and join them to a vector of length 1."""
        return jnp.concatenate([normalised(spatial), normalised(temporal)], 1) / np.float32(np.sqrt(2))


def prepare(phase: str, state, batches):
    """Start the flow network from the spatial one before "temporal", and set centres by k-means before "vlad".

    The first kernel of the flow network is averaged over the colours; where no earlier phase trained the spatial network
    it starts as `init_from` left it. The classifier of the spatial network is not copied.
    """
    if phase == "temporal" and "spatial" in batches.config.phases:
        return state.replace(**_temporal_from_spatial(state.params, state.batch_stats))
    if phase == "vlad":
        return state.replace(params=_with_centres(state, batches))
    return state


def _temporal_from_spatial(params: dict, batch_stats: dict) -> dict[str, dict]:
    """Return parameters and batch statistics in which those of the flow network are the spatial one's."""
    spatial, statistics = (
        jax.tree.map(jnp.copy, tree.get("spatial", {}))  # both networks may be donated to the same step
        for tree in (params, batch_stats)
    )
    spatial["conv1_1"]["kernel"] = flow_kernel(spatial["conv1_1"]["kernel"])
    own = {name: value for name, value in params["temporal"].items() if name == "classifier"}
    return {
        "params": {**params, "temporal": {**spatial, **own}},
        "batch_stats": {**batch_stats, **({"temporal": statistics} if statistics else {})},
    }


def _with_centres(state, batches) -> dict:
    """Return the parameters with centres from k-means on descriptors of the training set, of each network's own."""
    module = state.network.module
    descriptors, _ = sampled_descriptors(state, batches, DESCRIPTORS)
    of_each = descriptors.reshape(-1, *descriptors.shape[2:])
    centres = {
        f"vlad_{name}": vlad_parameters(kmeans(of_each[:, number], module.num_clusters), module.alpha)
        for number, name in enumerate(SINGLE)
    }
    return cast(dict, {**state.params, **centres})


registry.register(
    "two_stream_vgg",
    TwoStreamVGG,
    tuple(field for field in TwoStreamVGG.__dataclass_fields__ if field not in ("parent", "name")),
    {},
    input_size=(224, 224),
    clip_length=1,
    prepare=prepare,
)
