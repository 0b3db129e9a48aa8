"""Models read from the workdir of a run or a file of weights, and written to a file."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from vreid_jax import models
from vreid_jax.config import default, evaluation_stream
from vreid_jax.config.files import read_config
from vreid_jax.errors import InputError
from vreid_jax.experiment.results import read_results
from vreid_jax.inference import box
from vreid_jax.inference.model import Model
from vreid_jax.model_files import hub
from vreid_jax.model_files.weights_file import load_weights, preprocessing, read_metadata, save_weights
from vreid_jax.models.inheritance import begun, inherited_at, untrained
from vreid_jax.models.registry import Size
from vreid_jax.retrieval.distances import METRICS
from vreid_jax.settings import check
from vreid_jax.training.checkpoints import load_newest, variables_of
from vreid_jax.training.network import normalisation

log = logging.getLogger(__name__)

METADATA_KEYS = (
    "system",
    "dataset",
    "step",
    "phase",
    "inherited",
    "scores",
    "scores_by",
    "open_set",
    "adapted",
)  # parts of `Model.about` that a file keeps


def load(path: str | Path | None = None) -> Model:
    """Load the model of a run's workdir, or of a `.safetensors` file that `vreid convert` wrote.

    `path` may also be such a file on the Hugging Face hub: `hf://OWNER/NAME[@REVISION][/FILE]`. None is the model in the
    box, which ships with the library; its card, `vreid convert --card`, says what it was trained on and how well it does.

    Raises:
      InputError: when there is no model at `path`, or a damaged one.
    """
    if path is None:
        return _from_box(box.box_file())
    if str(path) == "":
        raise InputError("the model is empty: give the workdir of a run, or a .safetensors file")
    path = hub.local_path(path)
    if os.path.isdir(path):  # unlike a method of the path, it says no to a name that no file can have
        return _told(path, _from_workdir(path))
    if not os.path.exists(path):
        raise InputError(f"there is no model {path}: give the workdir of a run, or a .safetensors file")
    if path.suffix != ".safetensors":
        raise InputError(f"{path} is not a model: give the workdir of a run, or a .safetensors file")
    return _told(path, _from_file(path))


def adapted(model: Model, about: Mapping[str, Any]) -> Model:
    """Return a model whose weights were changed after its training, with what is no longer true of it left out.

    Args:
      model: with the new weights.
      about: how they came about, the key `adapted` of a file's metadata.
    """
    kept = {
        name: value for name, value in model.about.items() if name not in ("step", "scores", "scores_by", "open_set")
    }
    return dataclasses.replace(model, about={**kept, "adapted": dict(about)})


def save(model: Model, path: str | Path, licence: str = "", *, half: bool = False) -> None:
    """Write a model as one `.safetensors` file that `load` reads and that tells what it is.

    Its metadata hold the configuration, with the preprocessing, the dataset, the scores and the licence (by default:
    that of the dataset it was trained on). The vectors and the fingerprint stay the same. With `half` the parameters are
    rounded to float16, which makes the file half as large: what is loaded from it computes in float32 again, is that of
    the rounded parameters, and has their fingerprint.

    Raises:
      InputError: when nothing can be written.
    """
    variables = dict(model.variables)
    if half:
        variables["params"] = jax.tree.map(_to_half, variables["params"])
        rounded = jax.tree.map(lambda value: value.astype(np.float32), variables)
        model = dataclasses.replace(model, variables=rounded)
    own = {key: model.about[key] for key in METADATA_KEYS if model.about.get(key) is not None}
    own["preprocessing"] = preprocessing(
        model.config.data.height,
        model.config.data.width,
        model.mean,
        model.std,
        {name: stream.clip.to_dict() for name, stream in model.config.evaluation.streams.items()},
    )
    own |= {"config": json.loads(model.config.to_json()), "fingerprint": model.fingerprint}
    save_weights(path, variables, model.name, dict(model.fields), licence or model.licence, **own)


def _to_half(values) -> np.ndarray:
    with np.errstate(over="ignore"):
        rounded = np.asarray(values).astype(np.float16)
    if not np.isfinite(rounded).all():
        raise InputError(
            "a parameter is beyond 65504, the largest float16: the file cannot be written in half precision"
        )
    return rounded


def without_classifier(model: Model) -> Model:
    """Return a model without the parameters that only training needs: those that it has no use for without classes.

    It gives the same vectors. Its fingerprint is another one, so a gallery belongs to one of the two.

    Raises:
      InputError: for a model whose vectors are made of its classifier's scores.
    """
    needed = _made_shapes(dataclasses.replace(model, variables={"params": {}}))  # no classifier there: no classes
    own: dict[str, Any] = flatten_dict(dict(model.variables), sep="/")
    kept = {name: value for name, value in own.items() if name in needed}
    lean = dataclasses.replace(model, variables=unflatten_dict(kept, sep="/"))
    height, width = lean.config.data.height, lean.config.data.width
    for stream in lean.streams.values():
        channels = models.channels_of(lean.module, stream.apply)
        clips = jax.ShapeDtypeStruct((1, stream.clip.length, height, width, channels), jnp.float32)
        try:
            jax.eval_shape(functools.partial(lean.module.apply, train=False, **stream.apply), lean.variables, clips)
        except InputError as error:
            raise InputError(f"the model cannot embed without its classifier: {error}") from error
    return lean


def _told(path: Path, model: Model) -> Model:
    """Return the model, with a warning for what its vectors are made of and its run had not trained when it stopped."""
    phase = model.about.get("phase", "")
    if phase not in list(model.config.get("phase_order", ()))[:-1]:  # it came to its last one, or does not say
        return model
    parts: dict[str, str] = {}
    for stream in model.streams.values():
        parts |= models.trained_parts(model.module, stream.apply)
    names = flatten_dict(dict(model.variables), sep="/")
    if missing := untrained(begun(model.config.to_dict(), model.about), parts, names):
        log.warning(
            "%s is of a run that was stopped in its phase %r, and its vectors are made of %s, too, which it had not trained: "
            "they are worth little before the run has gone on",
            path,
            phase,
            " and ".join(f"{part!r}" for part in missing),
        )
    return model


def _from_box(path: Path) -> Model:
    try:
        return _from_file(path)
    except InputError as error:
        raise InputError(f"the model in the box cannot be used ({error}): {box.INSTEAD}") from error


def _from_workdir(workdir: Path) -> Model:
    config = read_config(workdir)
    name = config.model.name
    if name not in models.names():
        raise InputError(
            f"{workdir} is a run of {name}, which is not in the library: import the file that registers it"
        )
    if config.split == "all":
        raise InputError(f"{workdir} holds the runs of all splits: give the folder of one, {workdir / 'split_0'}")
    step, place, state = load_newest(workdir)
    about = {"system": config.system, "dataset": config.dataset, "step": step, **_measured(workdir, step)}
    about |= _reached(place, config.get("phase_order", ()))
    return Model(
        name=name,
        fields={key: value for key, value in config.model.to_dict().items() if key != "name"},
        config=config,
        variables=variables_of(state),
        **normalisation(config.data, models.entry(name)),
        about=about,
    )


def _reached(place: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """Return the phase to which a run came and, if that is not its last, which modules came trained from another run."""
    phase, inherited = str(place.get("phase", "")), inherited_at(place)
    if phase not in list(order)[:-1] or not isinstance(inherited, list | tuple):
        return {"phase": phase} if phase else {}
    return {"phase": phase, "inherited": sorted({"/".join(str(name).split("/")[:2]) for name in inherited})}


def _measured(workdir: Path, step: int) -> dict[str, Any]:
    """Return scores and thresholds of a run's `results.json`; none, with a warning, where they are not those of `step`."""
    file = workdir / "results.json"
    if not file.is_file():
        return {}
    try:
        found = read_results(file)
        if found["step"] != step:
            raise InputError(f"{file} is of step {found['step']}, and the weights are of step {step}")
    except InputError as error:
        log.warning("%s: the model has no scores and thresholds; `vreid evaluate %s` measures them", error, workdir)
        return {}
    return {"open_set": search_thresholds(found), "scores": _scores(found), "scores_by": _comparison(found)}


def _from_file(path: Path) -> Model:
    metadata = read_metadata(path)
    if metadata is None:
        raise InputError(f"{path} does not say which model it is of: make it with `vreid convert`")
    variables = {"batch_stats": {}, **load_weights(path)}
    try:
        model = described(metadata, variables)
        misfit = _misfit(model)
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is damaged: its config, fields or preprocessing cannot be read ({str(error).splitlines()[0]}); "
            "make or download it again"
        ) from error
    if not misfit and metadata.get("fingerprint", model.fingerprint) != model.fingerprint:
        misfit = f"its fingerprint says {metadata['fingerprint']}, its content is {model.fingerprint}"
    if misfit:
        raise InputError(f"{path} is damaged: {misfit}; make or download it again")
    return model


def _misfit(model: Model) -> str:
    """Return which names or shapes of the variables do not fit the model's fields; empty if all fit."""
    wanted, found = _made_shapes(model), _shapes(model.variables)
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if not wrong:
        return ""
    here, there = (str(list(side[wrong[0]])) if wrong[0] in side else "nothing" for side in (found, wanted))
    return f"{len(wrong)} of its tensors are not those of its fields, {wrong[0]} is {here} instead of {there}"


def _made_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Return the shapes that the variables of a model's fields have, by name."""
    used = max(stream.clip.length for stream in model.config.evaluation.streams.values())
    length = models.frames_of(model.module, used)
    channels = models.channels_of(model.module)
    clips = jax.ShapeDtypeStruct((1, length, model.config.data.height, model.config.data.width, channels), jnp.float32)
    return _shapes(jax.eval_shape(model.module.init, jax.random.key(0), clips))


def _shapes(variables: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters and batch statistics by name."""
    kept = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
    flat: dict[str, Any] = flatten_dict(kept, sep="/")
    return {name: tuple(value.shape) for name, value in flat.items()}


def described(metadata: Mapping[str, Any], variables: Mapping[str, Any]) -> Model:
    """Return the model that the metadata and the variables of a file describe."""
    entry = models.entry(metadata["model"])
    fields = {key: value for key, value in metadata["fields"].items() if key != "num_classes"}
    config, seen = metadata.get("config"), metadata.get("preprocessing") or {}
    if config is None:  # weights of another project: the sizes that the model was made for
        config = default(metadata["model"], "walkers")
        height, width = models.size_of(metadata["model"], models.create(metadata["model"], **fields))
        config.data.update(height=height, width=width)
        config.evaluation.streams = {"feature": stream_of(entry)}
        config.evaluation.metric = entry.metric
    config = ConfigDict(config)
    for three in (seen.get("mean", entry.mean), seen.get("std", entry.std)):
        if len(three) != 3:
            raise ValueError(f"preprocessing has {len(three)} means or deviations instead of 3")
    size = {key: seen[key] for key in ("height", "width") if key in seen}
    for key, value in size.items():
        check(value, Size, f"its {key}")
    config.data.update(size)
    return Model(
        name=metadata["model"],
        fields=fields,
        config=config,
        variables=variables,
        mean=tuple(seen.get("mean", entry.mean)),
        std=tuple(seen.get("std", entry.std)),
        about={key: metadata[key] for key in (*METADATA_KEYS, "licence", "library_version") if key in metadata},
    )


def stream_of(entry: models.Entry) -> ConfigDict:
    """Return the evaluation stream of weights of another project: all frames of a tracklet, or eight of its clips."""
    return evaluation_stream("all" if entry.clip_length == 1 else "evenly", entry.clip_length, {})


def search_thresholds(results: Mapping) -> dict | None:
    """Return the thresholds in a `results.json` for the plain distance in which vectors are searched."""
    measured = results.get("open_set")
    return measured.get("of_vectors", measured) if measured else None


def _comparison(results: Mapping) -> str:
    """Return by which comparison of tracklets the scores in a `results.json` are: a distance, or `similarity`."""
    measured = results.get("open_set") or {}  # `metric` is a setting, beside which a system compares in its own way
    return measured.get("metric") or results.get("metric") or METRICS[0]


def _scores(results: Mapping) -> dict[str, dict]:
    return {
        protocol: {key: value for key, value in scores.items() if key != "cmc"}
        for protocol, scores in results.get("protocols", {}).items()
    }
