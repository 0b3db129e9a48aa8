"""Weight files of this library: safetensors that say which model they are of, with which fields, under what licence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vreid_jax import __version__
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file, check_readable

FAMILY = "vreid_jax-"
FORMAT = FAMILY + "1"
TEXTS = ("model", "fields", "licence", "library_version")  # that every file has
NESTED = ("fields", "config", "preprocessing", "scores", "step", "open_set")  # as JSON; what else there is is text
SUFFIXES = (".pt", ".pth", ".safetensors")


def is_weights_path(path: str | Path) -> bool:
    """Whether a path names a file of weights, by its ending, rather than a folder."""
    return Path(path).suffix in SUFFIXES


def save_weights(
    path: str | Path, variables: dict[str, Any], model_name: str, fields: dict[str, Any], licence: str, **more: Any
) -> None:
    """Writes float32 variables under their names, `params/layer1_0/conv1/kernel`, with the metadata that tell of them.

    `fields` are those of `models.create`; `licence` is a sentence; the library's version is added; `more` is what else
    there is to tell: `preprocessing`, and of a trained model `config`, `system`, `dataset`, `step`, `scores`,
    `open_set` and `fingerprint`. Raises `InputError` where nothing can be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = Path(path)
    check_target(path)
    arrays = flatten_dict(jax.device_get(variables), sep="/")
    told = {"fields": fields, "licence": licence, "library_version": __version__, **more}
    metadata = {"format": FORMAT, "model": model_name}
    metadata |= {name: json.dumps(value) if name in NESTED else value for name, value in told.items()}
    with atomic_file(path) as half:
        try:
            save_file({name: np.asarray(value, order="C") for name, value in arrays.items()}, half, metadata)
        except SafetensorError as error:  # its name of an OSError
            raise InputError(f"cannot write {path}: {error}") from error


def check_target(path: Path) -> None:
    """Raise `InputError` where no model file can be written."""
    if path.suffix != ".safetensors":
        raise InputError(f"the weights file {path} has to end in .safetensors")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the folder of {path} does not exist")


def preprocessing(
    height: int, width: int, mean: Sequence[float], std: Sequence[float], clips: Mapping[str, Any]
) -> dict[str, Any]:
    """What a file says of the input: frames of `height` x `width`, `mean` and `std` of RGB in [0, 1], and for each
    stream of the model how a tracklet is cut into clips (`kind`, `length`, `stride`, `num_clips` of `data.split_clips`).
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
    """`model`, `fields`, `licence` and what else a file of this library says of itself; None for those of others.

    Raises `InputError` for a file that is not there, cannot be read, is damaged, or comes from a newer version.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise InputError(f"the weights file {path} is not there")
    if path.suffix != ".safetensors":
        return None
    check_readable(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise InputError(f"{path} is no readable safetensors file: {error}") from error
    written = metadata.get("format", "")
    if not written.startswith(FAMILY):
        return None
    if written != FORMAT:
        raise InputError(f"{path} was written by a newer version of vreid_jax, as {written}: upgrade this one")
    missing = [name for name in TEXTS if name not in metadata]
    if missing:
        raise InputError(f"{path} is damaged: its metadata have no {missing[0]}; make or download it again")
    for name in NESTED:
        if name in metadata:
            try:
                metadata[name] = json.loads(metadata[name])
            except ValueError as error:
                raise InputError(
                    f"{path} is damaged: its {name} is no JSON ({error}); make or download it again"
                ) from error
    return metadata


def load_weights(path: str | Path) -> dict[str, Any]:
    """The variables in a file that `save_weights` wrote."""
    from safetensors.numpy import load_file

    if read_metadata(path) is None:
        raise InputError(f"{path} was not written by this library")
    return unflatten_dict(load_file(path), sep="/")
