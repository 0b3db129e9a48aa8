"""Read a PyTorch state dict into NumPy arrays."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import check_readable


def read_state_dict(source: Mapping[str, Any] | str | Path) -> dict[str, np.ndarray]:
    """Read arrays by name from a mapping, a `.pt` or `.pth` file (weights only, needs PyTorch) or a `.safetensors` file.

    An entry `state_dict` around the tensors is unwrapped, and the prefix `module.` of PyTorch's data parallelism is
    removed from the names.

    Raises:
      InputError: for a file that does not exist or is of another kind, and entries that are not arrays.
    """
    tensors = source if isinstance(source, Mapping) else _read_file(Path(source))
    if isinstance(tensors.get("state_dict"), Mapping):
        tensors = tensors["state_dict"]
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return {name: _to_numpy(name, value) for name, value in tensors.items()}


def _read_file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"the weights file {path} does not exist")
    check_readable(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    if path.suffix in (".pt", ".pth"):
        try:
            import torch  # pyright: ignore[reportMissingImports] # of the extra `torch`
        except ImportError as error:
            raise InputError(f"reading {path} needs PyTorch: pip install 'vreid_jax[torch]'") from error
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise InputError(f"{path} is not a readable PyTorch file: {str(error).splitlines()[0]}") from error
        if not isinstance(content, Mapping):
            raise InputError(f"{path} holds a {type(content).__name__}, expected a state dict")
        return content
    raise InputError(f"{path} ends in {path.suffix!r}, expected .pt, .pth or .safetensors")


def _to_numpy(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value  # NumPy has no bfloat16
        return value.numpy()
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__"):
        return np.asarray(value)
    raise InputError(f"the entry {name!r} of the state dict is a {type(value).__name__}, expected an array")
