"""Write a trained model as StableHLO and ONNX."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax import export as jax_export

from vreid_jax import __version__
from vreid_jax.errors import InputError
from vreid_jax.export.parts import (
    ABOUT,
    FORMAT,
    FRAMES,
    ONNX_SUFFIX,
    ONNX_TOLERANCE,
    PLATFORMS,
    SUFFIX,
    Part,
    check,
    model_parts,
)
from vreid_jax.export.reading import read_function, read_onnx
from vreid_jax.files import atomic_folder
from vreid_jax.inference import Model


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
    with atomic_folder(out) as scratch:
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

    from vreid_jax.export import onnx as to_onnx

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
