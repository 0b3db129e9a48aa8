"""Read a PyTorch state dict into NumPy arrays."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import check_readable
from vreid_jax.model_files.weights_file import other_kind, read_tensors

# The entry of a checkpoint that holds the tensors: in torchreid and BoxMOT, in FastReID.
WRAPPERS = ("state_dict", "model")


def read_state_dict(source: Mapping[str, Any] | str | Path) -> dict[str, np.ndarray]:
    """Read arrays by name from a mapping, a `.pt` or `.pth` file (weights only, needs PyTorch) or a `.safetensors` file.

    A checkpoint's entry `state_dict` or `model` around the tensors is unwrapped, and the prefix `module.` of PyTorch's
    data parallelism is removed from the names.

    Raises:
      InputError: for a file that does not exist or is of another kind, entries that are not arrays, and those without a
        name.
    """
    tensors = source if isinstance(source, Mapping) else _read_file(Path(source))
    for wrapper in WRAPPERS:
        if isinstance(tensors.get(wrapper), Mapping):
            tensors = tensors[wrapper]
            break
    if odd := [name for name in tensors if not isinstance(name, str)]:
        raise InputError(f"the state dict has an entry {odd[0]!r}, expected the names of tensors")
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return {name: _to_numpy(name, value) for name, value in tensors.items()}


def _read_file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"the weights file {path} does not exist")
    check_readable(path)
    if path.suffix == ".safetensors":
        return read_tensors(path)
    if path.suffix in (".pt", ".pth"):
        try:
            import torch  # pyright: ignore[reportMissingImports] # of the extra `torch`
        except ImportError as error:
            raise InputError(f"reading {path} needs PyTorch: pip install 'vreid_jax[torch]'") from error
        try:
            with torch.serialization.safe_globals(_numpy_numbers()):
                content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise InputError(
                f"{path} is damaged, or holds other objects than tensors and numbers, which could run code and are not "
                "read: in the project that wrote it, save the state dict alone, torch.save(model.state_dict(), FILE)"
            ) from error
        except (RuntimeError, ValueError, EOFError) as error:
            raise InputError(f"{path} is not a readable PyTorch file: {str(error).splitlines()[0]}") from error
        if not isinstance(content, Mapping):
            raise InputError(f"{path} holds a {type(content).__name__}, expected a state dict")
        return content
    raise InputError(f"{path} ends in {path.suffix!r}, expected .pt, .pth or .safetensors")


def _numpy_numbers() -> list:
    """Return what PyTorch needs to read NumPy numbers, such as the rank-1 in a checkpoint of torchreid."""
    scalar = np.float32(0).__reduce__()[0]  # a function that only makes numbers; its module depends on NumPy's version
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = [np.dtype, *(type(np.dtype(kind)) for kind in ("float32", "float64", "int64"))]
    return [*((scalar, name) for name in names), *kinds]


def _to_numpy(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if value.is_floating_point():
            if value.element_size() == 1:
                raise InputError(other_kind(name, value.dtype))
            value = value.float()  # NumPy has no bfloat16
        return value.numpy()
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__"):
        return np.asarray(value)
    raise InputError(f"the entry {name!r} of the state dict is a {type(value).__name__}, expected an array")
