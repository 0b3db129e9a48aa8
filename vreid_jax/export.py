"""A trained model as StableHLO, and as ONNX where that is asked for: a folder that runs without this library's networks.

It runs at any batch size; StableHLO on CPU, CUDA and TPU, ONNX wherever its runtime does.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from ml_collections import ConfigDict

from vreid_jax import __version__, data, extraction, models
from vreid_jax.errors import InputError
from vreid_jax.inference import Model, OneTracklet
from vreid_jax.reading import check_readable
from vreid_jax.training.network import normalise
from vreid_jax.writing import whole_folder

FORMAT = "vreid_jax-export-1"
PLATFORMS = ("cpu", "cuda", "tpu")
SUFFIX = ".jax_export"
ABOUT = "metadata.json"
ONNX_SUFFIX = ".onnx"
TOLERANCE = 1e-5  # of the largest value
ONNX_TOLERANCE = 1e-4  # of the largest value: another runtime, with kernels of its own
CHECKED_SIZES = (1, 3)
FRAMES = "uint8 RGB frames, not normalised: that is done inside"
FEATURES = "float32 features"


@dataclasses.dataclass(frozen=True)
class Part:
    """A function of a model that is exported: of a stream's clips, of means of features, or of two sets of clips.

    `shapes` are those of its inputs; texts in them are dimensions of any size. `inputs` and `output` are names, for ONNX.
    """

    function: Callable[..., jax.Array]
    shapes: tuple[tuple[int | str, ...], ...]
    dtype: str
    what: str
    inputs: tuple[str, ...]
    output: str

    def specs(self) -> list[jax.ShapeDtypeStruct]:
        """Its inputs, with symbolic dimensions."""
        scope = jax_export.SymbolicScope()
        shapes = [jax_export.symbolic_shape(", ".join(map(str, shape)), scope=scope) for shape in self.shapes]
        return [jax.ShapeDtypeStruct(shape, self.dtype) for shape in shapes]

    def example(self, size: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Random inputs whose free dimensions are `size`, `size` + 1, …"""
        free: dict[str, int] = {}
        for dimension in (d for shape in self.shapes for d in shape if isinstance(d, str)):
            free.setdefault(dimension, size + len(free))
        shapes = [tuple(free.get(d, d) if isinstance(d, str) else d for d in shape) for shape in self.shapes]
        if self.dtype == "uint8":
            return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
        return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def export_model(
    model: Model, out: str | Path, *, platforms: Sequence[str] = PLATFORMS, onnx: bool = False
) -> dict[str, Any]:
    """Write the model as the folder `out`, check what was written against it, and return its `metadata.json`.

    For each stream there is `STREAM.jax_export`, which `jax.export.deserialize` reads: uint8 frames [b, T, H, W, 3] to
    features [b, D], for any b, the weights and the normalisation inside. A system with its own similarity also has
    `similarity.jax_export`, of clip features [q, M, D] and [g, M, D] to [q, g].
    Computed in float32, unless the run's `dtype` is bfloat16.
    With `onnx` there is, beside each of these files, one of the same function as ONNX, always in float32.

    Raises:
      InputError: when `out` is there, a platform is unknown, or this machine's is not among them; for ONNX when its
        packages are missing, or the model has an operation that cannot be written.
      RuntimeError: when what was written computes something else than the model.
    """
    out = Path(out)
    _check_request(out, platforms, onnx)
    parts = model_parts(model, _dtype(model))
    about = _describe(model, platforms)
    with whole_folder(out) as scratch:
        for name, part in parts.items():
            exported = jax_export.export(jax.jit(part.function), platforms=tuple(platforms))(*part.specs())
            (scratch / f"{name}{SUFFIX}").write_bytes(exported.serialize())
            again = read_function(scratch / f"{name}{SUFFIX}")
            about["functions"][name] = {
                "inputs": [{"shape": list(shape), "dtype": part.dtype} for shape in part.shapes],
                "what": part.what,
                "outputs": [[d if isinstance(d, int) else str(d) for d in aval.shape] for aval in exported.out_avals],
                "largest_difference": check(name, again, part),
            }
        if onnx:
            about |= _write_onnx(model_parts(model, "float32"), scratch, about["functions"])
        (scratch / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
    return about


def _write_onnx(parts: Mapping[str, Part], folder: Path, functions: Mapping[str, dict]) -> dict[str, Any]:
    """Write and check the ONNX file of each part, and say so in `functions`; returns what holds for all of them."""
    import onnxruntime

    from vreid_jax import to_onnx

    for name, part in parts.items():
        file = folder / f"{name}{ONNX_SUFFIX}"
        file.write_bytes(to_onnx.convert(part.function, part.specs(), part.inputs, part.output).SerializeToString())
        with jax.default_matmul_precision("highest"):  # a GPU would round the model's factors, and the runtime does not
            difference = check(file.name, read_onnx(file), part, ONNX_TOLERANCE)
        functions[name]["onnx"] = {
            "inputs": list(part.inputs),
            "output": part.output,
            "largest_difference": difference,
        }
    checked = f"onnxruntime {onnxruntime.__version__} on cpu"
    return {"onnx": {"opset": to_onnx.OPSET, "dtype": "float32", "checked_with": checked}}


def model_parts(model: Model, dtype: str) -> dict[str, Part]:
    """What is exported of a model that computes in `dtype`, by the name of the file."""
    module = model.make_module(dtype)
    variables = jax.tree.map(jnp.asarray, dict(model.variables))
    height, width = model.config.data.height, model.config.data.width
    parts: dict[str, Part] = {}
    for name, stream in model.config.evaluation.streams.items():
        if stream.clip.kind == "single_all":
            raise InputError(f"stream {name} takes a tracklet as one clip of any length, which cannot be exported")
        apply = stream.apply.to_dict()
        features = functools.partial(_features, module, variables, model.mean, model.std, apply)
        shape = ("b", stream.clip.length, height, width, 3)
        what = f"clips to features: {FRAMES}"
        parts[name] = Part(features, (shape,), "uint8", what, ("frames",), "features")
        length = jax.eval_shape(features, jax.ShapeDtypeStruct((1, *shape[1:]), jnp.uint8)).shape[-1]
        if hasattr(module, "tracklet_feature"):
            finish = functools.partial(_finished, module, apply)
            what = "mean features of tracklets to theirs"
            parts[f"{name}.tracklet"] = Part(finish, (("n", length),), "float32", what, ("means",), "features")
        if (similarity := models.entry(model.name).similarity) is not None and not stream.average:
            own = model.config.evaluation.similarity.to_dict()
            compare = functools.partial(_similarity, module, variables, similarity, own)
            shapes = tuple((rows, stream.clip.num_clips, length) for rows in ("q", "g"))
            what = "features of clips of tracklets to similarities"
            parts["similarity"] = Part(compare, shapes, "float32", what, ("query", "gallery"), "similarities")
    return parts


def _features(module, variables, mean, std, apply, frames):
    outputs = module.apply(variables, normalise(frames, mean, std), train=False, **apply)
    return outputs["feature"].astype(jnp.float32)


def _finished(module, apply, mean):
    return jnp.asarray(module.tracklet_feature(mean, **apply), jnp.float32)


def _similarity(module, variables, method, fields, query, gallery):
    return module.apply(variables, query, gallery, method=method, **fields)


def check(name: str, found: Callable[..., Any], part: Part, tolerance: float = TOLERANCE) -> float:
    """The largest difference of `found` from the model, over batches of several sizes; too large a one is an error."""
    rng = np.random.default_rng(0)
    expected_of = jax.jit(part.function)
    worst = 0.0
    for size in CHECKED_SIZES:
        inputs = part.example(size, rng)
        expected, given = np.asarray(expected_of(*inputs)), np.asarray(found(*inputs))
        if expected.shape != given.shape:
            raise RuntimeError(
                f"the exported {name} gives {given.shape} for a batch of {size}, the model {expected.shape}"
            )
        difference = float(np.abs(expected - given).max() / max(float(np.abs(expected).max()), 1e-12))
        worst = max(worst, difference)
    if not worst <= tolerance:
        raise RuntimeError(f"the exported {name} differs from the model by {worst:.1e}: it was not kept")
    return worst


def _check_request(out: Path, platforms: Sequence[str], onnx: bool) -> None:
    missing = [name for name in ("onnx", "onnxruntime") if onnx and importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX needs {' and '.join(missing)}: python3 -m pip install 'vreid_jax[onnx]'")
    unknown = sorted(set(platforms) - set(PLATFORMS))
    if unknown or not platforms:
        raise InputError(f"the platforms are {', '.join(PLATFORMS)}, not {', '.join(unknown) or 'none'}")
    here = jax_export.default_export_platform()
    if here not in platforms:
        raise InputError(f"this machine is {here}: name it among the platforms, so that what is written can be checked")
    if out.exists():
        raise InputError(f"{out} is there already: name another folder, or remove it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"the folder of {out} does not exist")


def _dtype(model: Model) -> str:
    return "bfloat16" if model.config.dtype == "bfloat16" else "float32"


def _describe(model: Model, platforms: Sequence[str]) -> dict[str, Any]:
    own = model.config.data
    return {
        "format": FORMAT,
        "library_version": __version__,
        "jax_version": jax.__version__,
        "model": model.name,
        "fields": dict(model.fields),
        "dtype": _dtype(model),
        "fingerprint": model.fingerprint,
        "licence": model.about.get("licence", ""),
        "dataset": model.about.get("dataset", ""),
        "platforms": list(platforms),
        "checked_on": jax_export.default_export_platform(),
        "input": {
            "pixels": FRAMES,
            "height": own.height,
            "width": own.width,
            "mean": list(model.mean),
            "std": list(model.std),
        },
        "metric": model.metric,
        "seed": model.config.seed,
        "streams": {name: stream.clip.to_dict() for name, stream in model.config.evaluation.streams.items()},
        "functions": {},
    }


def read_function(path: Path) -> Callable[..., jax.Array]:
    """The function in one file of an export; `InputError` for a file that is not there or damaged."""
    check_readable(path)
    try:
        return jax_export.deserialize(bytearray(path.read_bytes())).call
    except Exception as error:  # its reader promises nothing about what it raises
        raise InputError(f"{path} is damaged: export the model again") from error


def read_onnx(path: Path) -> Callable[..., np.ndarray]:
    """The function in one ONNX file of an export, computed by onnxruntime on the CPU.

    Raises `RuntimeError` for a file that it does not load.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no base of their own
        raise RuntimeError(f"onnxruntime cannot load {path}: {' '.join(str(error).split())}") from error
    names = [each.name for each in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))[0]


@dataclasses.dataclass(frozen=True)
class Exported:
    """An export that was read back; `functions` by name, `about` the content of its `metadata.json`."""

    functions: Mapping[str, Callable[..., jax.Array]]
    about: Mapping[str, Any]

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """The vector [D] of one tracklet, `frames` [T, H, W, 3] uint8 RGB of any size: that of `inference.Model.embed`.

        Raises `InputError` for frames of another kind, as it does.
        """
        tracklet = OneTracklet(frames)
        found = {}
        for name, clip in self.about["streams"].items():
            clip = ConfigDict({**clip, "corrupt": 0})
            size = self.about["input"]["height"], self.about["input"]["width"]
            items = data.evaluation_items(tracklet, clip, size=size, num_threads=1, seed=self.about["seed"])
            features = np.concatenate([np.asarray(self.functions[name](clips), np.float64) for _, clips in items])
            mean = features.mean(0, keepdims=True).astype(np.float32)
            finish = self.functions.get(f"{name}.tracklet")
            found[name] = mean if finish is None else np.asarray(finish(mean))
        return extraction.fuse(found)[0]


def read(folder: str | Path) -> Exported:
    """Read what `export_model` wrote; `InputError` for a folder that holds no export, or a damaged one."""
    folder = Path(folder).expanduser()
    try:
        about = json.loads((folder / ABOUT).read_text())
        if about.get("format") != FORMAT:
            raise ValueError("another format")
        names = list(about["functions"])
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise InputError(f"{folder} holds no export: make it with `vreid export` ({error})") from error
    return Exported({name: read_function(folder / f"{name}{SUFFIX}") for name in names}, about)
