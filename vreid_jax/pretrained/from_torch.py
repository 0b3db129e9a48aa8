"""From a PyTorch state dict to the variables of a model here, every tensor on both sides accounted for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax.traverse_util import flatten_dict, unflatten_dict

from vreid_jax import models
from vreid_jax.errors import InputError
from vreid_jax.pretrained import name_rules
from vreid_jax.pretrained.state_dict import read_state_dict

Path_ = tuple[str, ...]


def from_torch(model_name: str, state_dict: Mapping[str, Any] | str | Path, **fields) -> dict[str, Any]:
    """The variables (`params`, `batch_stats`) of `models.create(model_name, **fields)` with foreign weights.

    `state_dict` is name → array, or the path of a `.pt`, `.pth` or `.safetensors` file. Head tensors are left out and
    named in one log line; the temporal parts of a 3-D network keep their initialisation (seed 0) if the state dict is
    a 2-D network's. Anything else that one side has and the other has not is an `InputError` that lists both sides.
    """
    module = models.create(model_name, **fields)
    if model_name not in name_rules.RULES:
        known = ", ".join(sorted(name_rules.RULES))
        raise InputError(f"there are no rules to load PyTorch weights into {model_name!r}; known: {known}")
    target = flatten_dict(_target(module, model_name))
    found: dict[Path_, np.ndarray] = {}
    unexplained, left_out = [], []
    for name, value in read_state_dict(state_dict).items():
        path = name_rules.translate(name, value.ndim, name_rules.RULES[model_name])
        if path in target:
            converted = _convert(value, target[path].shape)
            if converted is None:
                unexplained.append(f"{name} {value.shape} for {'/'.join(path)} {target[path].shape}")
            else:
                found[path] = converted
        elif name_rules.is_head(name):
            left_out.append(name)
        else:
            unexplained.append(f"{name} {value.shape}")
    missing = [path for path in target if path not in found]
    kept = _kept(missing, found, name_rules.TEMPORAL.get(model_name))
    missing = [path for path in missing if path not in kept]
    if unexplained or missing:
        raise InputError(
            f"the weights do not fit {model_name!r}; in the state dict without a place: {_listed(unexplained)}; "
            f"in the model without a value: {_listed(['/'.join(path) for path in missing])}"
        )
    if left_out:
        logging.info("%s: left out %d tensors of heads: %s", model_name, len(left_out), ", ".join(left_out))
    return unflatten_dict({**{p: jnp.asarray(v) for p, v in found.items()}, **_initial(module, model_name, kept)})


def _clips(module, model_name: str) -> jax.Array:
    entry = models.entry(model_name)
    length = getattr(module, "clip_length", entry.clip_length)
    height, width = entry.input_size
    return jnp.zeros((1, length, height, width, 3), jnp.float32)


def _target(module, model_name: str) -> dict[str, Any]:
    """Shapes of all variables, without computing any."""
    return jax.eval_shape(lambda: module.init(jax.random.key(0), _clips(module, model_name)))


def _initial(module, model_name: str, paths: list[Path_]) -> dict[Path_, jax.Array]:
    """The initial values of `paths` alone; under jit the network's other values are never computed."""
    if not paths:
        return {}

    def wanted():
        values = flatten_dict(module.init(jax.random.key(0), _clips(module, model_name)))
        return [values[path] for path in paths]

    # Runs once: compiling well would take longer than running badly.
    quick = jax.jit(wanted, compiler_options={"xla_backend_optimization_level": 0})
    return dict(zip(paths, quick(), strict=True))


def _kept(missing: list[Path_], found: Mapping[Path_, Any], pattern: str | None) -> list[Path_]:
    """The paths without a value that may stay initialised: all temporal ones, if the state dict brought none."""

    def temporal(path: Path_) -> bool:
        return pattern is not None and re.fullmatch(pattern, "/".join(path[1:])) is not None

    return [] if any(map(temporal, found)) else [path for path in missing if temporal(path)]


def _convert(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """OIDHW → DHWIO, OIHW → HWIO, OI → IO; a 1x1 kernel becomes the matrix it is. None if the shapes do not agree."""
    if value.ndim > 1:
        value = np.transpose(value, (*range(2, value.ndim), 1, 0))
    extents = value.ndim - len(shape)
    if extents > 0 and value.shape[:extents] == (1,) * extents:
        value = value.reshape(value.shape[extents:])
    return value.astype(np.float32) if value.shape == tuple(shape) else None


def _listed(items: list[str]) -> str:
    return ", ".join(items) if items else "nothing"
