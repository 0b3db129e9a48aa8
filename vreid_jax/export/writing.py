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
from vreid_jax.config.inputs import FLOW_METHODS
from vreid_jax.errors import InputError
from vreid_jax.export.parts import (
    FORMAT,
    FRAMES,
    METADATA_FILE,
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
    """Export a model to a folder, check the exported functions against it, and return the content of `metadata.json`.

    Each stream, or the headline alone where there is one, becomes `STREAM.jax_export`, which `jax.export.deserialize`
    reads: uint8 frames [b, T, H, W, 3] to features [b, D] for any b, with weights and normalisation included. A system with
    its own similarity also gets `similarity.jax_export`: clip features [q, M, D] and [g, M, D] to [q, g]. Functions compute
    in float32, unless the run's `dtype` is bfloat16.

    Args:
      model: the model.
      out: the folder to write, which must not exist.
      platforms: of the functions, from `PLATFORMS`; this machine's must be among them.
      onnx: also write each function as ONNX, always in float32.

    Raises:
      InputError: if `out` exists, a platform is unknown, or this machine's platform is missing; for ONNX if its packages
        are not installed, or the model has an operation that cannot be written.
      RuntimeError: if an exported function does not compute what the model computes.
    """
    out = Path(out)
    _check_request(out, platforms, onnx)
    parts = model_parts(model, _dtype(model))
    about = _describe(model, platforms)
    with atomic_folder(out) as scratch:
        for name, part in parts.items():
            exported = jax_export.export(jax.jit(part.function), platforms=tuple(platforms))(*part.specs())
            (scratch / f"{name}{SUFFIX}").write_bytes(exported.serialize())
            reread = read_function(scratch / f"{name}{SUFFIX}")
            about["functions"][name] = {
                "inputs": [{"shape": list(shape), "dtype": part.dtype} for shape in part.shapes],
                "what": part.what,
                "outputs": [[d if isinstance(d, int) else str(d) for d in aval.shape] for aval in exported.out_avals],
                "largest_difference": check(name, reread, part),
            }
        if onnx:
            about |= _write_onnx(model_parts(model, "float32"), scratch, about["functions"])
        (scratch / METADATA_FILE).write_text(json.dumps(about, indent=1) + "\n")
    return about


def _write_onnx(parts: Mapping[str, Part], folder: Path, functions: Mapping[str, dict]) -> dict[str, Any]:
    """Write and check the ONNX file of each part, describe it in `functions`, and return the metadata common to all."""
    import onnxruntime

    from vreid_jax.export import onnx as to_onnx

    for name, part in parts.items():
        file = folder / f"{name}{ONNX_SUFFIX}"
        file.write_bytes(to_onnx.convert(part.function, part.specs(), part.inputs, part.output).SerializeToString())
        with jax.default_matmul_precision(
            "highest"
        ):  # a GPU would round the factors of products, which onnxruntime does not
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
        raise InputError(
            f"this machine's platform is {here}: name it among the platforms, so that the export can be checked"
        )
    if out.exists():
        raise InputError(f"{out} exists already: name another folder, or remove it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"the folder of {out} does not exist")


def _dtype(model: Model) -> str:
    return "bfloat16" if model.config.dtype == "bfloat16" else "float32"


def _describe(model: Model, platforms: Sequence[str]) -> dict[str, Any]:
    frames = model.config.data
    return {
        "format": FORMAT,
        "library_version": __version__,
        "jax_version": jax.__version__,
        "model": model.name,
        "fields": dict(model.fields),
        "dtype": _dtype(model),
        "fingerprint": model.fingerprint,
        "licence": model.licence,
        "dataset": model.about.get("dataset", ""),
        **{name: model.about[name] for name in ("adapted",) if name in model.about},
        "platforms": list(platforms),
        "checked_on": jax_export.default_export_platform(),
        "input": {
            "pixels": FRAMES,
            "height": frames.height,
            "width": frames.width,
            "mean": list(model.mean),
            "std": list(model.std),
        },
        "metric": model.metric,
        "seed": model.config.seed,
        "flow": model.config.data.get("flow", FLOW_METHODS[0]),
        "headline": model.config.evaluation.get("headline", ""),
        "streams": {name: model.config.evaluation.streams[name].clip.to_dict() for name in model.streams},
        "functions": {},
    }
