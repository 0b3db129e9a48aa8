"""Two-stream M3D: a 2-D network for appearance and an M3D network for motion, fused by concatenation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from vreid_jax.config.inputs import RGB_CHANNELS
from vreid_jax.errors import InputError
from vreid_jax.models import registry
from vreid_jax.models.backbones.resnet import ADDED_PARTS, LastStride, M3DBlocks
from vreid_jax.models.inheritance import check_streams
from vreid_jax.models.layers.heads import IdentityHead
from vreid_jax.models.layers.inflation import flow_kernel, inflate, is_flow_kernel
from vreid_jax.models.layers.m3d import Scales, Start
from vreid_jax.models.layers.norm import l2_normalize
from vreid_jax.models.layers.residual_attention import Branches
from vreid_jax.models.registry import Classes, Dropout, Dtype, Size, Stages

STREAMS = ("spatial", "temporal")


class Stream(nn.Module):
    """A backbone and an identity head, with `lstm` > 0 an LSTM of that size between them.

    `reads` is what clips hold, of `config.inputs.CHANNELS`.
    """

    backbone: nn.Module
    num_classes: int = 0
    feature_size: int = 128
    dropout: float = 0.5
    lstm: int = 0
    reads: str = "frames"

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W C"], train: bool = False) -> dict[str, Array]:
        """Return the backbone's endpoints of normalised clips, `feature` [B, D] and, with `num_classes`, `logits`.

        Raises:
          InputError: for clips of other channels than it reads.
        """
        registry.check_channels(clips, self.reads, f"stream {self.name}")
        outputs = self.backbone(clips, train)
        pooled = outputs["pooled"]
        if self.lstm:
            states = nn.RNN(nn.OptimizedLSTMCell(self.lstm, name="lstm"))(pooled)
            pooled = cast(Array, states).mean(1)  # alone: the carry is not asked for
        head = IdentityHead(self.feature_size, self.num_classes, self.dropout, name="head")
        return {**outputs, **head(pooled, train)}


def downsample(clips: Float[Array | np.ndarray, "B T H W C"], factor: int) -> Float[Array | np.ndarray, "B T h w C"]:
    """Return the means of squares of `factor` x `factor` pixels.

    Raises:
      InputError: where the squares do not fit.
    """
    if factor == 1:
        return clips
    batch, length, height, width, channels = clips.shape
    if height % factor or width % factor:
        raise InputError(f"temporal_downsample is {factor}, which does not divide frames of {height}x{width} pixels")
    blocks = jnp.reshape(clips, (batch, length, height // factor, factor, width // factor, factor, channels))
    return blocks.mean((3, 5))


class TwoStreamM3D(nn.Module):
    """The spatial and the temporal stream of the paper, submodules `spatial` and `temporal`.

    `temporal` chooses the temporal stream: "m3d"; "lstm", the paper's baseline, an LSTM of `lstm_size` over the frames
    of a 2-D network, its outputs averaged; or another registered ResNet. "i3d", "p3d_a", "p3d_b" and "p3d_c" are the
    paper's comparison networks `resnet50_i3d` ..., which have no M3D and attention fields. "flow" is its row "appearance
    and optical flow": a 2-D network on stacks of optical flow.
    The temporal stream sees the means of squares of `temporal_downsample` x `temporal_downsample` pixels: motion needs less
    detail than appearance, and a small network on a CPU sees three times as many clips of half the size.
    Fusing the *L2-normalised* features is a choice; the paper says only "concatenation".
    The other fields are those of the backbones and the head. A temporal stream reads those that its network has: the
    fields of M3D "m3d" alone, `temporal_last_stride` all but "lstm" and "flow", which have `spatial_last_stride`. What a
    stream does not read still has to be a value of its field.
    """

    num_classes: Classes = 0
    temporal: str = "m3d"
    width: Size = 64
    stage_sizes: Stages = (3, 4, 6, 3)
    spatial_last_stride: LastStride = 1
    temporal_last_stride: LastStride = 2
    clip_length: Size = 8
    temporal_scales: Scales = "paper"
    stem_m3d: bool = True
    temporal_stride: bool = True
    m3d_scale: float = 0.0
    m3d_init: Start = "random"
    m3d_blocks: M3DBlocks = "first"
    temporal_downsample: Size = 1
    ral: Branches = "sct"
    feature_size: Size = 128
    lstm_size: Size = 512
    dropout: Dropout = 0.5
    dtype: Dtype = "float32"
    remat: bool = False

    @nn.compact
    def __call__(
        self, clips: Float[Array | np.ndarray, "B T H W C"], train: bool = False, stream: str | None = None
    ) -> dict[str, Any]:
        """Return the outputs of one stream for normalised clips, or with `stream` None of both.

        Clips are frames, for the temporal stream "flow" stacks, and for both then frames with the stack that begins there.
        Of both streams, `feature` [B, 2D] is fused, `streams` holds the outputs of each, and the endpoints and `logits`
        are the temporal stream's.

        Raises:
          InputError: for an unknown stream, or a `temporal` that is not a model.
        """
        if stream is not None and stream not in STREAMS:
            raise InputError(f"stream is {stream!r}, expected {' or '.join(STREAMS)}, or None for both")

        def outputs_of(name, given):
            given = downsample(given, self.temporal_downsample) if name == "temporal" else given
            return self._stream(name)(given, train)

        if stream is not None:
            return outputs_of(stream, clips)
        given = {name: clips for name in STREAMS}
        if self.temporal == "flow":
            registry.check_channels(clips, "both", "two_stream_m3d with temporal = 'flow'")
            given = {"spatial": clips[..., :RGB_CHANNELS], "temporal": clips[..., RGB_CHANNELS:]}
        outputs = {name: outputs_of(name, given[name]) for name in STREAMS}
        feature = jnp.concatenate([l2_normalize(outputs[name]["feature"]) for name in STREAMS], axis=-1)
        return {**outputs["temporal"], "feature": feature, "streams": outputs}

    @nn.nowrap
    def inputs(self, stream: str | None = None) -> str:
        """Return what a stream reads, or with `stream` None both."""
        if self.temporal != "flow" or stream == "spatial":
            return "frames"
        return "flow" if stream == "temporal" else "both"

    @nn.nowrap
    def check_clip(self, length: int, stream: str | None = None) -> None:
        """Refuse the clips of another recipe: "flow" learns from single stacks, as a 2-D network does from frames.

        A configuration chooses the recipe by what stands behind its dataset; the field alone would leave the clips of M3D.

        Raises:
          InputError: for the temporal stream "flow" and clips that are not of length 1, and the other way round.
        """
        flow, single = self.temporal == "flow", length == 1
        if stream == "temporal" and flow != single and self.clip_length > 1:
            raise InputError(
                f"model.temporal is {self.temporal!r}, and the clips of its stream have length {length}, of the recipe for "
                f"{'clips of frames' if flow else 'optical flow'}: write model.temporal={self.temporal} behind the dataset, "
                f"as in --config=configs/m3d.py:mars,model.temporal={self.temporal}, which sets the recipe too"
            )

    @nn.nowrap
    def check_run(self, settings: Any, kept: Sequence[str], source: Mapping[str, Any]) -> None:
        """Raise `InputError` for a stream that comes from a run of the other one."""
        check_streams(settings, kept, source, self.trained_parts)

    @nn.nowrap
    def trained_parts(self, stream: str | None = None) -> dict[str, str]:
        """Return the networks of a stream, each with the phase that trains it."""
        return {name: name for name in ((stream,) if stream else STREAMS)}

    @nn.nowrap
    def unshaped(self) -> Mapping[str, Any]:
        """Return the fields by which its spatial backbone computes, of those that no tensor shows."""
        return registry.unshaped(registry.create("resnet50"))

    def _stream(self, name: str) -> Stream:
        """Make the module of a stream."""
        common = {field: getattr(self, field) for field in ("width", "stage_sizes", "dtype", "remat")}
        lstm = self.lstm_size if name == "temporal" and self.temporal == "lstm" else 0
        if name == "spatial" or self.temporal in ("lstm", "flow"):
            backbone = registry.create("resnet50", last_stride=self.spatial_last_stride, **common)
        else:
            kind = f"resnet50_{self.temporal}"
            if kind not in registry.names():
                raise InputError(f"temporal is {self.temporal!r}, but there is no model {kind!r}")
            accepted = registry.entry(kind).fields
            own = (
                "clip_length", "temporal_scales", "stem_m3d", "temporal_stride", "m3d_scale", "m3d_init", "m3d_blocks", "ral",
            )  # fmt: skip
            common.update({field: getattr(self, field) for field in own if field in accepted})
            backbone = registry.create(kind, last_stride=self.temporal_last_stride, **common)
        return Stream(
            backbone.clone(name="backbone", parent=None),
            self.num_classes,
            self.feature_size,
            self.dropout,
            lstm,
            self.inputs(name),
            name=name,
        )


def init_temporal_from_spatial(variables: dict) -> dict:
    """Return the variables with the spatial stream's tensors copied into the temporal stream.

    A 2-D kernel goes into the middle frame of a 3-D one, so that the stream starts as the spatial one (a choice; the
    I3D paper divides it among the frames). The first kernel on optical flow is averaged over the colours. Temporal
    kernels, attention, and the LSTM with the layer that it feeds stay as they are.

    Raises:
      InputError: when any other tensor of either stream has no counterpart.
    """
    result = {}
    unmatched = []
    for collection, tree in variables.items():
        flat: dict[tuple[str, ...], Any] = flatten_dict(tree)
        spatial = {path[1:]: value for path, value in flat.items() if path[0] == "spatial"}
        temporal = {path[1:]: value for path, value in flat.items() if path[0] == "temporal"}
        recurrent = any(path[0] == "lstm" for path in temporal)
        for path, value in temporal.items():
            if path in spatial and spatial[path].shape == value.shape:
                # A copy, since both trees may be donated to the same jitted step.
                flat[("temporal", *path)] = jax.tree.map(jnp.copy, spatial[path])
            elif path in spatial and value.ndim == 5 and spatial[path].shape == value.shape[1:]:
                flat[("temporal", *path)] = inflate(spatial[path], len(value), "center")
            elif path in spatial and is_flow_kernel(spatial[path].shape, value.shape):
                flat[("temporal", *path)] = flow_kernel(spatial[path])
            elif not _is_temporal(path, recurrent):
                unmatched.append(f"temporal/{'/'.join(path)}")
        unmatched += [f"spatial/{'/'.join(path)}" for path in spatial if path not in temporal]
        result[collection] = unflatten_dict(flat)
    if unmatched:
        raise InputError(f"the temporal stream cannot start from the spatial one, unmatched: {', '.join(unmatched)}")
    return result


def _is_temporal(path: tuple[str, ...], recurrent: bool) -> bool:
    """Tell whether a tensor of the temporal stream has no counterpart because the spatial stream is 2-D."""
    if recurrent and (path[0] == "lstm" or path[:2] == ("head", "feature")):
        return True
    return any(re.fullmatch(added, part) for added in ADDED_PARTS for part in path)


def prepare(phase: str, state, batches):
    """Start the phase `temporal` from the spatial stream as the phase before trained it."""
    if phase != "temporal":
        return state
    return state.replace(
        **init_temporal_from_spatial({"params": state.params, "batch_stats": state.batch_stats}),
    )


registry.register(
    "two_stream_m3d",
    TwoStreamM3D,
    tuple(field for field in TwoStreamM3D.__dataclass_fields__ if field not in ("parent", "name")),
    {},
    prepare=prepare,
)
