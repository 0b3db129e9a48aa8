"""Two-stream M3D: a 2-D network for appearance, an M3D network for motion, fused by concatenation."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from vreid_jax.errors import InputError
from vreid_jax.models import registry
from vreid_jax.models.backbones.resnet import ADDED_PARTS
from vreid_jax.models.layers.heads import IdentityHead
from vreid_jax.models.layers.inflation import inflate

STREAMS = ("spatial", "temporal")


class Stream(nn.Module):
    """A backbone and an identity head; with `lstm` > 0 a recurrent layer of that size between them.

    The outputs are the backbone's endpoints, `feature` [B, 128] and, with `num_classes`, `logits`.
    """

    backbone: nn.Module
    num_classes: int = 0
    feature_size: int = 128
    dropout: float = 0.5
    lstm: int = 0

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W 3"], train: bool = False) -> dict[str, Array]:
        """Features and endpoints of normalised clips."""
        outputs = self.backbone(clips, train)
        pooled = outputs["pooled"]
        if self.lstm:
            pooled = nn.RNN(nn.OptimizedLSTMCell(self.lstm, name="lstm"))(pooled)
            pooled = pooled.mean(1)
        head = IdentityHead(self.feature_size, self.num_classes, self.dropout, name="head")
        return {**outputs, **head(pooled, train)}


class TwoStreamM3D(nn.Module):
    """The spatial and the temporal stream of the paper, submodules `spatial` and `temporal`.

    `temporal` chooses the temporal stream: "m3d", "lstm" (the paper's baseline: an LSTM of `lstm_size` over the
    frames of a 2-D network, its outputs averaged), or another registered ResNet: "i3d", "p3d_a", "p3d_b", "p3d_c" are
    the paper's comparison networks `resnet50_i3d` ..., which take none of the M3D and attention fields.
    Fusing the *L2-normalised* features is a choice, the paper says only "concatenation".
    The other fields are those of the backbones and the head.
    """

    num_classes: int = 0
    temporal: str = "m3d"
    width: int = 64
    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    spatial_last_stride: int = 1
    temporal_last_stride: int = 2
    clip_length: int = 8
    temporal_scales: str = "paper"
    stem_m3d: bool = True
    temporal_stride: bool = True
    m3d_scale: float = 0.0
    ral: str = "sct"
    feature_size: int = 128
    lstm_size: int = 512
    dropout: float = 0.5
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(
        self, clips: Float[Array | np.ndarray, "B T H W 3"], train: bool = False, stream: str | None = None
    ) -> dict[str, Any]:
        """Outputs of one stream, or with `stream` None the fused `feature` [B, 2D], and `streams` with those of both.

        `logits` and the endpoints are then the temporal stream's. `clips` are normalised floats.
        """
        if stream is not None and stream not in STREAMS:
            raise InputError(f"stream is {stream!r}, expected {' or '.join(STREAMS)}, or None for both")
        wanted = STREAMS if stream is None else (stream,)
        outputs = {name: self._stream(name)(clips, train) for name in wanted}
        if stream is not None:
            return outputs[stream]
        feature = jnp.concatenate([_unit(outputs[name]["feature"]) for name in STREAMS], axis=-1)
        return {**outputs["temporal"], "feature": feature, "streams": outputs}

    def _stream(self, name: str) -> Stream:
        common = {field: getattr(self, field) for field in ("width", "stage_sizes", "dtype", "remat")}
        lstm = 0
        if name == "spatial" or self.temporal == "lstm":
            lstm = self.lstm_size if name == "temporal" else 0
            backbone = registry.create("resnet50", last_stride=self.spatial_last_stride, **common)
        else:
            kind = f"resnet50_{self.temporal}"
            if kind not in registry.names():
                raise InputError(f"temporal is {self.temporal!r}, but there is no model {kind!r}")
            accepted = registry.entry(kind).fields
            own = ("clip_length", "temporal_scales", "stem_m3d", "temporal_stride", "m3d_scale", "ral")
            common.update({field: getattr(self, field) for field in own if field in accepted})
            backbone = registry.create(kind, last_stride=self.temporal_last_stride, **common)
        return Stream(
            backbone.clone(name="backbone", parent=None),
            self.num_classes,
            self.feature_size,
            self.dropout,
            lstm,
            name=name,
        )


def _unit(x: Array) -> Array:
    """L2-normalised rows; a zero row stays zero and has a finite gradient."""
    return x / jnp.sqrt((x * x).sum(-1, keepdims=True) + 1e-12)


def init_temporal_from_spatial(variables: dict) -> dict:
    """The variables with every tensor of the spatial stream copied to where the temporal stream has it too.

    A kernel that has frames there goes into its middle frame, so that the stream starts as the spatial one (a choice;
    the I3D paper divides it among the frames). Temporal kernels, attention and the LSTM with what it feeds stay as
    they are. A tensor of either stream that has no counterpart for another reason is an `InputError`.
    """
    result = {}
    unmatched = []
    for collection, tree in variables.items():
        flat = flatten_dict(tree)
        spatial = {path[1:]: value for path, value in flat.items() if path[0] == "spatial"}
        temporal = {path[1:]: value for path, value in flat.items() if path[0] == "temporal"}
        recurrent = any(path[0] == "lstm" for path in temporal)
        for path, value in temporal.items():
            if path in spatial and spatial[path].shape == value.shape:
                # A copy of its own: both trees may be donated to the same jitted step.
                flat[("temporal", *path)] = jax.tree.map(jnp.copy, spatial[path])
            elif path in spatial and value.ndim == 5 and spatial[path].shape == value.shape[1:]:
                flat[("temporal", *path)] = inflate(spatial[path], len(value), "center")
            elif not _is_temporal(path, recurrent):
                unmatched.append(f"temporal/{'/'.join(path)}")
        unmatched += [f"spatial/{'/'.join(path)}" for path in spatial if path not in temporal]
        result[collection] = unflatten_dict(flat)
    if unmatched:
        raise InputError(f"the temporal stream cannot start from the spatial one, unmatched: {', '.join(unmatched)}")
    return result


def _is_temporal(path: tuple[str, ...], recurrent: bool) -> bool:
    if recurrent and (path[0] == "lstm" or path[:2] == ("head", "feature")):
        return True
    return any(re.fullmatch(added, part) for added in ADDED_PARTS for part in path)


def prepare(phase: str, state, batches):
    """Start the phase `temporal` from what the phase before it taught the spatial stream; `state` is a train state."""
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
