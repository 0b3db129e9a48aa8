"""Convert a PyTorch state dict to the variables of a model, with every tensor on both sides accounted for."""

from __future__ import annotations

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
from vreid_jax.models.layers.inflation import check_inflation
from vreid_jax.pretrained import name_rules
from vreid_jax.pretrained.fitting import MOUNTS, Fit, Names, Tensor, fit
from vreid_jax.pretrained.state_dict import read_state_dict


def from_torch(
    model_name: str, state_dict: Mapping[str, Any] | str | Path, *, inflation: str = "mean", **fields
) -> dict[str, Any]:
    """Convert PyTorch weights to the variables of `models.create(model_name, **fields)`.

    Tensors of heads that the model does not have, and classifiers of another size, are left out and named in one log
    line. Temporal kernels of a separable pair, attention, non-local blocks and a classifier keep their initialisation
    (seed 0) where the source does not have them. A system receives the weights of its backbone (`two_stream_m3d` in both
    streams), and its head keeps its initialisation.

    Args:
      model_name: one of `models.names()`.
      state_dict: arrays by name, or the path of a `.pt`, `.pth` or `.safetensors` file.
      inflation: how the kernels of a 2-D network become 3-D: "mean" divides each evenly among the frames of its
        temporal extent, "center" puts it into the middle frame.
      **fields: of `models.create`.

    Returns:
      `params` and `batch_stats`.

    Raises:
      InputError: if anything else is on one side only; the message lists both sides. Also for tensors that are not of
        finite floats, and two for one place.
    """
    module = models.create(model_name, **fields)
    target = flatten_dict(jax.eval_shape(lambda: _variables(module, model_name)))  # shapes, nothing computed
    found, left_out = fit_torch(model_name, state_dict, target, inflation, fields)
    check_fit(found, f"the weights do not fit {model_name!r}", "the state dict")
    left_out += found.left_out
    if left_out:
        logging.info("%s: left out %d tensors of heads: %s", model_name, len(left_out), ", ".join(left_out))
    values = {path: jnp.asarray(value) for path, value in found.values.items()}
    return unflatten_dict({**values, **_initial(module, model_name, found.kept)})


def fit_torch(
    model_name: str,
    state_dict: Mapping[str, Any] | str | Path,
    target: Mapping[Names, Any],
    inflation: str,
    fields: Mapping[str, Any],
) -> tuple[Fit, list[str]]:
    """Fit a state dict to the variables `target` of a model; also return the names of the head tensors left out.

    Args:
      model_name: one with name rules.
      state_dict: as for `from_torch`.
      target: the model's variables by path, as anything with a shape.
      inflation: as for `from_torch`.
      fields: of the model that are given.

    Raises:
      InputError: for a model without name rules, an unknown inflation, a file that cannot be read, tensors that are not
        of finite floats, two for one place, and a state dict that does not say which of two networks it is of.
    """
    check_inflation(inflation)
    if model_name not in name_rules.RULES:
        known = ", ".join(sorted(name_rules.RULES))
        raise InputError(f"there are no rules for loading PyTorch weights into {model_name!r}; there are for: {known}")
    tensors = read_state_dict(state_dict)
    if model_name == "resnet50_bnneck":
        _check_stem(tensors, fields)
    mounts = MOUNTS.get(model_name, ((),))
    source, left_out, unexplained = {}, [], []
    for name, value in tensors.items():
        path = name_rules.translate(name, value.ndim, name_rules.RULES[model_name])
        if name_rules.is_head(name) and not (path and _has_place(path, mounts, target)):
            left_out.append(name)
        elif path is not None and path in source:
            raise InputError(f"the tensors {source[path].name} and {name} are both {'/'.join(path)} of {model_name!r}")
        elif path is not None:
            source[path] = Tensor(name, value.shape, _channels_last(value))
        else:
            unexplained.append(f"{name} {value.shape}")
    found = fit(source, target, mounts, inflation)
    found.unexplained = unexplained + found.unexplained
    return found, left_out


def check_fit(found: Fit, what: str, where: str) -> None:
    """Raise an `InputError` that lists both sides unless every tensor is accounted for."""
    if found.unexplained or found.missing:
        raise InputError(
            f"{what}; in {where} without a place: {_listed(found.unexplained)}; "
            f"in the model without a value: {_listed(['/'.join(path) for path in found.missing])}"
        )


def _check_stem(tensors: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """Raise an `InputError` where networks of these names have different stems, and the field that tells them is missing."""
    if "stem_relu" not in fields and any(name.startswith("base.") for name in tensors):
        raise InputError(
            "the state dict has tensors base.…, as reid-strong-baseline and projects made from it name them. Some of their "
            "networks have no ReLU behind the first batch norm, and the tensors do not say which: give stem_relu=False "
            "for reid-strong-baseline itself (vreid convert … --field=stem_relu=False; in a configuration "
            "model.stem_relu), or stem_relu=True"
        )
    if "stem_pool" not in fields and any(name.startswith("backbone.") for name in tensors):
        raise InputError(
            "the state dict has tensors backbone.…, as FastReID names them. Since August 2020, in all of 1.x, its networks "
            "pool the stem without padding, before that with a padding of 1, and the tensors do not say which: give "
            "stem_pool=ceil for the former (vreid convert … --field=stem_pool=ceil; in a configuration "
            "model.stem_pool), or stem_pool=padded"
        )


def _has_place(path: Names, mounts: tuple[Names, ...], target: Mapping[Names, Any]) -> bool:
    """Return whether a model has a variable of this path under one of its mounts."""
    return any((path[0], *mount, *path[1:]) in target for mount in mounts)


def _variables(module, model_name: str) -> dict[str, Any]:
    """Initialise all variables; `lazy_init` does so without a forward pass."""
    entry = models.entry(model_name)
    length = getattr(module, "clip_length", entry.clip_length)
    clips = jax.ShapeDtypeStruct((1, length, *entry.input_size, models.channels_of(module)), jnp.float32)
    return dict(module.lazy_init(jax.random.key(0), clips))


def _initial(module, model_name: str, paths: list[Names]) -> dict[Names, jax.Array]:
    """Return the initial values of `paths`; under jit, other values are never computed."""
    if not paths:
        return {}

    def wanted():
        values = flatten_dict(_variables(module, model_name))
        return [values[path] for path in paths]

    # Runs once: optimising the program would take longer than it saves.
    quick = jax.jit(wanted, compiler_options={"xla_backend_optimization_level": 0})
    return dict(zip(paths, quick(), strict=True))


def _channels_last(value: np.ndarray) -> np.ndarray:
    """Transpose OIDHW to DHWIO, OIHW to HWIO, OI to IO."""
    return np.transpose(value, (*range(2, value.ndim), 1, 0)) if value.ndim > 1 else value


def _listed(items: list[str]) -> str:
    return ", ".join(items) if items else "nothing"
