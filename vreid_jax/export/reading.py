"""Read exported functions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export as jax_export

from vreid_jax import data
from vreid_jax.config.inputs import CHANNELS
from vreid_jax.config.phases import Clip
from vreid_jax.errors import InputError
from vreid_jax.evaluation import features as extraction
from vreid_jax.export.parts import FORMAT, METADATA_FILE, SUFFIX
from vreid_jax.files import check_readable
from vreid_jax.inference import OneTracklet


def read_function(path: Path) -> Callable[..., jax.Array]:
    """Read the function in one file of an export; raise `InputError` if the file does not exist or is damaged."""
    check_readable(path)
    try:
        return jax_export.deserialize(bytearray(path.read_bytes())).call
    except Exception as error:  # the reader does not document what it raises
        raise InputError(f"{path} is damaged: export the model again") from error


def read_onnx(path: Path) -> Callable[..., np.ndarray]:
    """Read the function in one ONNX file of an export; onnxruntime computes it on the CPU.

    Raises:
      RuntimeError: if onnxruntime cannot load the file.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise RuntimeError(f"onnxruntime cannot load {path}: {' '.join(str(error).split())}") from error
    names = [each.name for each in session.get_inputs()]
    return lambda *inputs: np.asarray(session.run(None, dict(zip(names, inputs, strict=True)))[0])


@dataclasses.dataclass(frozen=True)
class Exported:
    """An export in memory.

    Attributes:
      functions: by name.
      about: the content of its `metadata.json`.
    """

    functions: Mapping[str, Callable[..., jax.Array]]
    about: Mapping[str, Any]

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Embed one tracklet as `inference.Model.embed` does.

        Args:
          frames: [T, H, W, 3] uint8 RGB of any size, in temporal order.

        Returns:
          The vector [D].

        Raises:
          InputError: for frames of another shape or dtype.
        """
        tracklet = OneTracklet(frames)
        found, headline = {}, self.about.get("headline", "")
        inputs = {channels: name for name, channels in CHANNELS.items()}
        for name, clip in self.about["streams"].items():
            if headline not in ("", name):
                continue
            uncorrupted = Clip(**{**clip, "corrupt": 0})
            size = self.about["input"]["height"], self.about["input"]["width"]
            items = data.evaluation_items(
                tracklet,
                uncorrupted,
                size=size,
                num_threads=1,
                seed=self.about["seed"],
                inputs=inputs[self.about["functions"][name]["inputs"][0]["shape"][-1]],
                flow=self.about.get("flow", "dis"),
            )
            features = np.concatenate([np.asarray(self.functions[name](clips), np.float64) for _, clips in items])
            mean = features.mean(0, keepdims=True).astype(np.float32)
            finish = self.functions.get(f"{name}.tracklet")
            found[name] = mean if finish is None else np.asarray(finish(mean))
        return extraction.fuse(found)[0]


def read(folder: str | Path) -> Exported:
    """Read what `export_model` wrote; raise `InputError` for a folder without an export, or with a damaged one."""
    folder = Path(folder).expanduser()
    try:
        about = json.loads((folder / METADATA_FILE).read_text())
        if about.get("format") != FORMAT:
            raise ValueError("another format")
        names = list(about["functions"])
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise InputError(f"{folder} does not contain an export: make one with `vreid export` ({error})") from error
    return Exported({name: read_function(folder / f"{name}{SUFFIX}") for name in names}, about)
