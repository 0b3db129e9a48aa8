"""Weight files: safetensors with metadata that name the model, its fields and the licence."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vreid_jax import __version__
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file, check_readable
from vreid_jax.json_files import parse_json
from vreid_jax.model_files.metadata import SHAPES, check_lengths

FAMILY = "vreid_jax-"
FORMAT = FAMILY + "1"
REQUIRED_KEYS = ("model", "fields", "licence", "library_version")


def save_weights(
    path: str | Path, variables: dict[str, Any], model_name: str, fields: dict[str, Any], licence: str, **more: Any
) -> None:
    """Write variables, float32 or float16, under names such as `params/layer1_0/conv1/kernel`, with metadata.

    Args:
      path: the file to write, `.safetensors`.
      variables: of the model.
      model_name: one of `models.names()`.
      fields: of `models.create`.
      licence: a sentence.
      **more: further metadata: `preprocessing`, and for a trained model `config`, `system`, `dataset`, `step`, `phase`,
        `inherited`, `scores`, `open_set`, `adapted` and `fingerprint`. The library's version is added.

    Raises:
      InputError: if the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = Path(path)
    check_target(path)
    arrays = flatten_dict(jax.device_get(variables), sep="/")
    stated = {"fields": fields, "licence": licence, "library_version": __version__, **more}
    metadata = {"format": FORMAT, "model": model_name}
    metadata |= {name: json.dumps(value) if name in SHAPES else value for name, value in stated.items()}
    with atomic_file(path) as half:
        try:
            save_file({name: np.asarray(value, order="C") for name, value in arrays.items()}, half, metadata)
        except SafetensorError as error:  # which is how safetensors reports an OSError
            raise InputError(f"cannot write {path}: {error}") from error


def check_target(path: Path) -> None:
    """Raise `InputError` if `path` cannot be a model file: another suffix, or no such folder."""
    if path.suffix != ".safetensors":
        raise InputError(f"the weights file {path} must end in .safetensors")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the folder of {path} does not exist")


def preprocessing(
    height: int, width: int, mean: Sequence[float], std: Sequence[float], clips: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the metadata that describe the input of a model.

    Args:
      height: of frames, in pixels.
      width: likewise.
      mean: of RGB in [0, 1].
      std: likewise.
      clips: for each stream of the model the `kind`, `length`, `stride` and `num_clips` of `data.split_clips`.
    """
    return {
        "height": height,
        "width": width,
        "mean": [float(value) for value in mean],
        "std": [float(value) for value in std],
        "scale": 1 / 255,
        "pixels": "RGB uint8 frames become floats: (value * scale - mean) / std",
        "clips": {name: dict(clip) for name, clip in clips.items()},
    }


def read_metadata(path: str | Path) -> dict[str, Any] | None:
    """Read the metadata of a weights file: `model`, `fields`, `licence` and more; None if another program wrote it.

    Raises:
      InputError: for a file that does not exist, cannot be read, is damaged, or comes from a newer version.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not os.path.isfile(path):
        raise InputError(f"the weights file {path} does not exist")
    if path.suffix != ".safetensors":
        return None
    check_readable(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    written = metadata.get("format", "")
    if not written.startswith(FAMILY):
        return None
    if written != FORMAT:
        raise InputError(f"{path} was written by a newer version of vreid_jax, in format {written}: upgrade vreid_jax")
    missing = [name for name in REQUIRED_KEYS if name not in metadata]
    if missing:
        raise InputError(f"{path} is damaged: its metadata lack {missing[0]}; make or download it again")
    try:
        told = {name: parse_json(metadata[name], shape, name) for name, shape in SHAPES.items() if name in metadata}
        check_lengths(told.get("open_set"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; make or download it again") from error
    texts = {name: text for name, text in metadata.items() if name not in SHAPES}
    return texts | {name: value for name, value in told.items() if value is not None}


def load_weights(path: str | Path) -> dict[str, Any]:
    """Read the variables in a file that `save_weights` wrote, as float32; raise `InputError` for any other file."""
    if read_metadata(path) is None:
        raise InputError(f"{path} was not written by this library")
    stored = read_tensors(Path(path))
    try:
        return unflatten_dict({name: as_float32(name, value) for name, value in stored.items()}, sep="/")
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}; make or download it again") from error


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays in a safetensors file by name.

    Raises:
      InputError: for another file, and floats of less than 16 bits, which NumPy does not have.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load_file

    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (it is not a mapping)
                kind = file.get_slice(name).get_dtype()
                if kind.startswith("F") and kind not in ("F16", "F32", "F64"):
                    raise InputError(f"{path}: {other_kind(name, kind)}")
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error


def as_float32(name: str, value: Any) -> np.ndarray:
    """Return the weights `value` as float32; `InputError` names them where they are not floats, or not finite."""
    value = np.asarray(value)
    if not (jnp.issubdtype(value.dtype, jnp.floating) and value.dtype.itemsize > 1):
        raise InputError(other_kind(name, value.dtype))
    with np.errstate(over="ignore"):
        numbers = value.astype(np.float32, copy=False)
    if not np.isfinite(numbers).all():
        raise InputError(f"the tensor {name} has numbers that are not finite in float32")
    return numbers


def other_kind(name: str, kind: Any) -> str:
    """Return what is wrong with a tensor whose numbers are not floats of 16 bits or more."""
    return f"the tensor {name} is of {kind}, expected float16, bfloat16, float32 or float64"
