"""The functions of a model that are exported, and the check of an exported function against the model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from vreid_jax import models
from vreid_jax.config.inputs import CHANNELS
from vreid_jax.errors import InputError
from vreid_jax.inference import Model
from vreid_jax.training.network import normalise

FORMAT = "vreid_jax-export-1"
PLATFORMS = ("cpu", "cuda", "tpu")
SUFFIX = ".jax_export"
METADATA_FILE = "metadata.json"
ONNX_SUFFIX = ".onnx"
TOLERANCE = 1e-5  # relative to the largest value
ONNX_TOLERANCE = 1e-4  # likewise; looser, since another runtime has its own kernels
CHECKED_SIZES = (1, 3)
FRAMES = "uint8 RGB frames, normalised by the function itself"
FLOW = "uint8 stacks of 10 fields of optical flow, x and y in turn, 128 + 127/20 of a byte a pixel, normalised likewise"
DESCRIPTIONS = {"frames": FRAMES, "flow": FLOW, "both": f"{FRAMES}, and behind the colours {FLOW}"}


@dataclasses.dataclass(frozen=True)
class Part:
    """A function of a model to export: of a stream's clips, of mean features, or of two sets of clips.

    Attributes:
      function: takes and returns arrays.
      shapes: of its inputs; strings in them are dimensions of any size.
      dtype: of its inputs.
      what: a description.
      inputs: names of its inputs, for ONNX.
      output: name of its result, for ONNX.
    """

    function: Callable[..., jax.Array]
    shapes: tuple[tuple[int | str, ...], ...]
    dtype: str
    what: str
    inputs: tuple[str, ...]
    output: str

    def specs(self) -> list[jax.ShapeDtypeStruct]:
        """Return the shapes and dtypes of the inputs, with symbolic dimensions."""
        scope = jax_export.SymbolicScope()
        shapes = [jax_export.symbolic_shape(", ".join(map(str, shape)), scope=scope) for shape in self.shapes]
        return [jax.ShapeDtypeStruct(shape, self.dtype) for shape in shapes]

    def example(self, size: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Return random inputs whose free dimensions are `size`, `size` + 1 and so on."""
        free: dict[str, int] = {}
        for dimension in (d for shape in self.shapes for d in shape if isinstance(d, str)):
            free.setdefault(dimension, size + len(free))
        shapes = [tuple(free[d] if isinstance(d, str) else d for d in shape) for shape in self.shapes]
        if self.dtype == "uint8":
            return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
        return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def model_parts(model: Model, dtype: str) -> dict[str, Part]:
    """Return the parts of a model that computes in `dtype`, by the stem of their files: of the streams of its vectors.

    Raises:
      InputError: for a stream that takes a whole tracklet as one clip, which cannot be exported.
    """
    module = model.make_module(dtype)
    variables = jax.tree.map(jnp.asarray, dict(model.variables))
    height, width = model.config.data.height, model.config.data.width
    parts: dict[str, Part] = {}
    for name in model.streams:
        # As the run compares it: `model.streams` are as vectors are made.
        stream = model.config.evaluation.streams[name]
        if stream.clip.kind == "single_all":
            raise InputError(f"stream {name} takes a tracklet as one clip of any length, which cannot be exported")
        apply = stream.apply.to_dict()
        features = functools.partial(_features, module, variables, model.mean, model.std, apply)
        inputs = models.inputs_of(module, apply)
        shape = ("b", stream.clip.length, height, width, CHANNELS[inputs])
        what = f"clips to features: {DESCRIPTIONS[inputs]}"
        parts[name] = Part(features, (shape,), "uint8", what, ("frames",), "features")
        length = jax.eval_shape(features, jax.ShapeDtypeStruct((1, *shape[1:]), jnp.uint8)).shape[-1]
        if hasattr(module, "tracklet_feature"):
            finish = functools.partial(_tracklet_features, module, apply)
            what = "mean clip features to tracklet features"
            parts[f"{name}.tracklet"] = Part(finish, (("n", length),), "float32", what, ("means",), "features")
        if (similarity := models.entry(model.name).similarity) is not None and not stream.average:
            own = model.config.evaluation.similarity.to_dict()
            compare = functools.partial(_similarity, module, variables, similarity, own)
            shapes = tuple((rows, stream.clip.num_clips, length) for rows in ("q", "g"))
            what = "clip features of tracklets to similarities"
            parts["similarity"] = Part(compare, shapes, "float32", what, ("query", "gallery"), "similarities")
    return parts


def _features(module, variables, mean, std, apply, frames):
    outputs = module.apply(variables, normalise(frames, mean, std), train=False, **apply)
    return outputs["feature"].astype(jnp.float32)


def _tracklet_features(module, apply, mean):
    return jnp.asarray(module.tracklet_feature(mean, **apply), jnp.float32)


def _similarity(module, variables, method, fields, query, gallery):
    return module.apply(variables, query, gallery, method=method, **fields)


def check(name: str, found: Callable[..., Any], part: Part, tolerance: float = TOLERANCE) -> float:
    """Return the largest relative difference of an exported function from the model, over batches of several sizes.

    Args:
      name: what error messages call it.
      found: the exported function.
      part: the function of the model.
      tolerance: the largest difference allowed.

    Raises:
      RuntimeError: if shapes or values differ, or values are not finite.
    """
    rng = np.random.default_rng(0)
    expected_of = jax.jit(part.function)
    worst = 0.0
    for size in CHECKED_SIZES:
        inputs = part.example(size, rng)
        expected, given = np.asarray(expected_of(*inputs)), np.asarray(found(*inputs))
        if expected.shape != given.shape:
            raise RuntimeError(
                f"the exported {name} returns shape {given.shape} for a batch of {size}, the model {expected.shape}"
            )
        for whose, values in ((f"the model's {name}", expected), (f"the exported {name}", given)):
            if not np.isfinite(values).all():  # max() below would drop a NaN
                raise RuntimeError(f"{whose} returns NaN or infinite values for random inputs; it was not kept")
        difference = float(np.abs(expected - given).max() / max(float(np.abs(expected).max()), 1e-12))
        worst = max(worst, difference)
    if not worst <= tolerance:
        raise RuntimeError(f"the exported {name} differs from the model by {worst:.1e}; it was not kept")
    return worst
