"""Where a run's parameters start: `config.init_from` names another run's workdir, or a file of weights."""

import logging
import os
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vreid_jax import models
from vreid_jax.config.fields import matching
from vreid_jax.errors import InputError
from vreid_jax.json_files import read_json
from vreid_jax.model_files import hub
from vreid_jax.model_files.weights_file import load_weights, read_metadata
from vreid_jax.models.inheritance import begun
from vreid_jax.models.layers.inflation import check_inflation
from vreid_jax.pretrained.fitting import MOUNTS, Names, Tensor, fit
from vreid_jax.pretrained.from_torch import check_fit, fit_torch
from vreid_jax.training.checkpoints import load_variables, newest_place
from vreid_jax.training.network import Network, normalisation
from vreid_jax.training.state import TrainState

log = logging.getLogger(__name__)

# What systems read of the configuration of a run, of an earlier version's, too.
_TOLD = {
    "model?": {},
    "data?": {},
    "phases?": {str: {"apply?": {}}},
    "phase_order?": [str],
    "init_from?": str,
    "init_patterns?": [str],
}


def initial_variables(
    init_from: str,
    variables,
    *,
    model: str,
    fields: Mapping[str, Any] | None = None,
    patterns: Sequence[str] = (".*",),
    inflation: str = "mean",
    tell: bool = True,
):
    """Return `variables` with those of `init_from` that `patterns` name in their place.

    Also returns the names (`params/temporal/…`) of what came from a run of the same system, or its file: that is
    trained already, and what a system does before a phase is not to change it (`keep`). Of weights of another project,
    also converted, a system's own parts are random. With `tell`, what is left out is logged in one line.

    Anything that does not fit is an error that lists both sides, except that temporal kernels, attention and blocks
    which the source lacks stay as they are, and so do classifiers for another number of identities and heads that a
    backbone lacks.

    Args:
      init_from: the workdir of a run, a file that `vreid convert` wrote, here or on the hub (`hf://OWNER/NAME`), or the
        state dict of a PyTorch backbone (`.pt`, `.pth`, `.safetensors`).
      variables: of the new network, or their shapes.
      model: name of the new network.
      fields: of the new network that are given; without those that tell networks of the same names apart, a state dict
        of these names is refused.
      patterns: which of its parameters are taken.
      inflation: how kernels of a 2-D network enter a 3-D one, "mean" or "center".
      tell: whether to log.

    Raises:
      InputError: when there are no weights, or those of another model.
    """
    check_inflation(inflation)
    target = flatten_dict(variables)
    wanted = _chosen(target, patterns)
    if not wanted:
        raise InputError(f"init_patterns {tuple(patterns)} match no parameter of this model")
    start = hub.local_path(init_from)
    trained = True
    if not os.path.exists(start):
        raise InputError(f"init_from {init_from} is not there: give a run's workdir, or a file of weights")
    if os.path.isdir(start):
        found, left_out = _fit_whole(load_variables(start), wanted, patterns, inflation)
    elif (metadata := read_metadata(start)) is None:
        found, left_out = fit_torch(model, start, target, inflation, fields or {})
        trained = False
    elif metadata["model"] == model:
        found, left_out = _fit_whole(load_weights(start), wanted, patterns, inflation)
        trained = "system" in metadata  # which weights of another project lack, and what is made of them
    else:
        # Whole runs of another system are refused, as their workdirs are; of converted weights the backbone is taken.
        mount = () if "system" in metadata else MOUNTS.get(metadata["model"], ((),))[0]
        source, left_out = _below(mount, _named(flatten_dict(load_weights(start))))
        found = fit(source, target, MOUNTS.get(model, ((),)), inflation)
        trained = False
    check_fit(found, f"init_from {init_from} is of another model", "it")
    left_out = left_out + found.left_out
    if left_out and tell:
        log.warning("init_from: left out %s", ", ".join(left_out))
    taken = {path: jnp.asarray(value) for path, value in found.values.items() if path in wanted}
    return unflatten_dict(target | taken), sorted("/".join(path) for path in taken) if trained else []


def source_of(init_from: str) -> dict[str, Any]:
    """Return the configuration of the run that `init_from` names, or that a file was made of, as far as it is known.

    `model` holds the name and the fields of the module, and `data` its normalisation. The `phase_order` of a run that was
    stopped, or of its file, ends with the phase in which it was. `converted`: whether a file is of another project's weights.

    Raises:
      InputError: when the `config.json` of a run, or the file, is damaged.
    """
    if not init_from:
        return {}
    start = hub.local_path(init_from)
    if not os.path.isdir(start):
        if (metadata := read_metadata(start)) is None:
            return {}
        config, seen = metadata.get("config", {}), metadata.get("preprocessing", {})
        told = {"model": {**metadata["fields"], "name": metadata["model"]}, "data": {**config.get("data", {}), **seen}}
        return begun({**config, **told, "converted": "system" not in metadata}, metadata)
    file = start / "config.json"
    told = read_json(file, _TOLD) if file.is_file() else {}
    return begun(told, newest_place(start)) if told.get("phase_order") else told


def check_source(init_from: str, source: Mapping[str, Any], network: Network) -> None:
    """Compare what a network computes by, beside its tensors, with what those that it starts from were trained with.

    A difference that can be meant, as another normalisation, is a warning.

    Args:
      init_from: what it starts from.
      source: its configuration: see `source_of`.
      network: the new one.

    Raises:
      InputError: for another stem, for which there is no reason.
    """
    fields = dict(source.get("model", {}))
    name = fields.pop("name", "")
    if name not in models.names():
        return
    try:
        module = models.create(name, **fields)
    except InputError:  # it has fields of another version, of which nothing is known
        return
    seen = {key: value for key, value in source.get("data", {}).items() if key in ("mean", "std")}
    there = Network(module, **normalisation(SimpleNamespace(**seen), models.entry(name)))
    told, own = models.unshaped(there.module), models.unshaped(network.module)
    other = {
        f"model.{field}": (told[field], own[field]) for field in told if told[field] != own.get(field, told[field])
    }
    for field, (trained, given) in other.items():
        if field.startswith("model.stem_"):
            raise InputError(
                f"init_from {init_from} was trained with {field} = {trained!r}, and this run has {given!r}: its weights "
                f"would be those of another network; set {field} to {trained!r}, of strong_baseline behind the dataset, as in "
                f"strong_baseline:mars,model.backbone_fields={{{field.removeprefix('model.')!r}:{trained!r}}}"
            )
    for field in ("mean", "std"):
        trained, given = getattr(there, field), getattr(network, field)
        if not np.allclose(trained, given, rtol=0.01):
            other[f"data.{field}"] = (trained, given)
    if other:
        what = ("was converted to a model with", "if it was trained so, set the fields to that")
        log.warning(
            "init_from %s %s %s; %s",
            init_from,
            what[0] if source.get("converted") else "was trained with",
            ", ".join(f"{field} = {trained!r}, not {given!r}" for field, (trained, given) in other.items()),
            what[1] if source.get("converted") else "unless you mean to change that, set the fields to what they were",
        )


def keep(names: Sequence[str], before: TrainState, after: TrainState) -> TrainState:
    """Return the state `after` with the variables of these names as they were in `before`."""

    def kept(collection: str):
        old, new = (flatten_dict(getattr(state, collection), sep="/") for state in (before, after))
        return unflatten_dict({k: old[k] if f"{collection}/{k}" in chosen else v for k, v in new.items()}, sep="/")

    chosen = set(names)
    return after.replace(params=kept("params"), batch_stats=kept("batch_stats"))


def _fit_whole(source, wanted, patterns: Sequence[str], inflation: str):
    """Fit the variables of the same system, those that the patterns name on both sides."""
    return fit(_named(_chosen(flatten_dict(source), patterns)), wanted, inflation=inflation), []


def _named(flat) -> dict[tuple[str, ...], Tensor]:
    return {path: Tensor("/".join(path), value.shape, value) for path, value in flat.items()}


def _below(mount: Names, source: Mapping[Names, Tensor]) -> tuple[dict[Names, Tensor], list[str]]:
    """Return the tensors below a path, named from there, and the names of the others."""
    inside = {path: path[1 : 1 + len(mount)] == mount for path in source}
    found = {(path[0], *path[1 + len(mount) :]): source[path] for path in source if inside[path]}
    return found, [source[path].name for path in source if not inside[path]]


def _chosen(flat, patterns) -> dict:
    """Return the tensors whose name without its collection matches one of the patterns."""
    names = {"/".join(path[1:]) for path in flat}
    chosen = set(matching(names, patterns))
    return {path: value for path, value in flat.items() if "/".join(path[1:]) in chosen}
