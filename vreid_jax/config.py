"""Configurations: their fields, the datasets they can name, and the checks that no misspelt field survives."""

import ast
import difflib
import importlib.util
import itertools
import os
import re
import sys
import traceback
from importlib.machinery import SourceFileLoader
from typing import Any

from ml_collections import ConfigDict, FieldReference

from vreid_jax.errors import InputError

DATASETS = {
    "walkers": "walkers/small",
    "mars": "mars_video",
    "ilids_vid": "ilids_vid",
    "prid2011": "prid2011_video",
    "duke_video": "duke_video",
    "folder": "folder",
}
SMALL = ("walkers", "folder")  # trained from nothing, at a size for a laptop; the others are the papers' recipes
NUM_SPLITS = {"ilids_vid": 10, "prid2011": 10}
SHORT_NAMES = {"path": "data.path", "data_dir": "data.data_dir", "bad_frames": "data.bad_frames"}


def default(system: str, dataset: str) -> ConfigDict:
    """Return the fields that every system has; phases, model and evaluation streams are the system's to add."""
    if dataset not in DATASETS:
        base, variant, _ = dataset.partition("/")
        if variant and base in DATASETS:
            raise InputError(f"dataset {dataset!r} is written {base},data.name={dataset}")
        raise InputError(
            f"there is no dataset {dataset!r}{nearest(dataset, DATASETS)}; it is one of {', '.join(DATASETS)}"
        )
    return ConfigDict(
        {
            "system": system,
            "dataset": dataset,
            "split": FieldReference(0, field_type=object),  # of ilids_vid and prid2011: 0 to 9, or "all"
            "seed": 0,
            "init_from": "",  # a run's workdir or a file of weights (.safetensors, .pth), which this one starts from
            "init_patterns": (".*",),  # which of its parameters, e.g. "spatial/.*"
            "inflation": "mean",  # of its 2-D kernels in a 3-D network: mean or center
            "dtype": "auto",  # of the computation: float32, bfloat16, or auto: bfloat16 where the device has it
            "data": {
                "name": DATASETS[dataset],
                "data_dir": "",  # empty: $TFDS_DATA_DIR, or ~/tensorflow_datasets
                "path": "",  # of the dataset `folder`
                "bad_frames": "error",  # or "skip": unreadable pictures of `folder` are left out and counted
                "height": 256,
                "width": 128,
                "num_threads": 8,
                "feature_dir": "",  # where tables of clip features (`cache_features`) are kept for other runs; empty: not
                "mean": (),  # of RGB in [0, 1], and its deviation; empty: what the model was made for
                "std": (),
            },
            "model": {},
            "phase_order": (),
            "phases": {},
            "evaluation": {
                "streams": {},
                "batch_frames": 256,  # frames in one batch of the feature extraction
                "similarity": {},  # keyword arguments of a system's similarity of tracklets, which replaces the metric
                "shortlist": 0,  # that similarity for so many nearest by mean feature only; 0: for all
                "metric": "euclidean",  # sqeuclidean, cosine; or xqda, kissme: learned from the training split
                "rerank": False,  # also score after k-reciprocal re-ranking: `reranked` in results.json
                "protocols": (),  # empty: those of the dataset
                "baselines": ("untrained", "color_histogram"),
                # Also persons instead of tracklets, as PROBE/GALLERY of random, all: protocols tracklets_PROBE_GALLERY.
                "selections": (),
                # Another dataset whose query and gallery are scored, e.g. walkers/jitter; written to results-….json.
                "dataset": "",
                # The control that destroys dynamics and nothing else; written to results-shuffled.json.
                "shuffle_frames": False,
            },
            "logging": {"every_steps": 10, "tensorboard": True, "progress": True},
            "checkpoint": {"every_steps": 100, "keep": 2},
        }
    )


def from_file(name: str) -> ConfigDict:
    """Return the locked configuration of `FILE[:DATASET[,key=value…]]`, the text that `--config` takes.

    Raises:
      InputError: when there is no such file, or no such dataset or field, or the file does not run.
    """
    path, _, argument = str(name).partition(":")
    if not os.path.isfile(path):
        raise InputError(f"there is no configuration file {path}")
    loader = SourceFileLoader(f"vreid_jax_configuration_{os.path.basename(path)}", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module  # where a module defined in the file looks for its own names
    try:
        loader.exec_module(module)
        return module.get_config(argument or None)
    except InputError:
        raise
    except Exception as error:  # it is somebody's program
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else 1)
        raise InputError(f"{path} line {line} is no configuration: {type(error).__name__}: {error}") from error


def dataset_of(name: str) -> str:
    """Return which of `DATASETS` a name like `walkers/jitter` is of; a dataset of somebody's own is of itself."""
    base = name.partition("/")[0]
    return next((key for key, value in DATASETS.items() if value.partition("/")[0] == base), base)


def dataset_name(config: ConfigDict) -> str:
    """Return the dataset to load, with its split where it has several, e.g. `ilids_vid/split_3`.

    Raises:
      InputError: for a split that the dataset does not have.
    """
    count, split = NUM_SPLITS.get(config.dataset, 1), config.split
    if isinstance(split, bool) or not isinstance(split, int) or not 0 <= split < count:
        has = f"splits 0 to {count - 1}, and all" if count > 1 else "one split, 0"
        raise InputError(f"split is {split!r}; dataset {config.dataset} has {has}")
    name = config.data.name
    return f"{name}/split_{split}" if count > 1 and "/" not in name else name


def phase(**changes) -> ConfigDict:
    """Return a phase: what is sampled, what is minimised, how, and for how long. Unknown names are an error.

    Fields:
      sampler: `shuffle`, every tracklet once an epoch; `frames`, every tracklet as often as it has frames; or
        `identity`, `identities_per_batch` x K clips.
      clip: `kind`, `length` and `stride` of `data.sample_clip`; `num_clips` of them behind each other, of which up to
        `corrupt` are corrupted, how many and which drawn anew each time.
      cache_features: for a system whose `prepare` makes a table of clip features: batches are rows of it instead of
        frames, which are then not augmented.
      augment: probabilities of `data.augment`.
      apply: keyword arguments of the module in this phase, e.g. which stream.
      losses: terms by name, each with a weight (0 leaves it out).
      train: patterns of the parameters that learn, e.g. `spatial/.*`; the others stay as they are.
      lr_multipliers: pairs (pattern, factor); the first pattern that matches a parameter counts.
      schedule: `constant`, `step` (times `factor` at each of `boundaries`), or `exponential` (from `start` on down to
        `final_factor`); positions are fractions of the phase.
      total_epochs, total_steps: the length; one of the two is 0.
      accumulation_steps: microbatches of a batch. Batch norm and hard mining see one microbatch, of whole identities.
    """
    fields = ConfigDict(
        {
            "sampler": "shuffle",
            "batch_size": 32,
            "identities_per_batch": 8,
            "clip": {"kind": "consecutive", "length": 8, "stride": 1, "num_clips": 1, "corrupt": 0},
            "cache_features": False,
            "augment": {"flip": 0.0, "enlarge_crop": 0.0},
            "apply": {},
            "losses": {
                "softmax": {"weight": 1.0, "smoothing": 0.0},
                "triplet": {"weight": 0.0, "margin": 0.3, "distance": "euclidean", "reduction": "mean"},
                # On the similarities of sets of clips, negated.
                "clip_triplet": {"weight": 0.0, "margin": 1.0, "reduction": "mean"},
                # The queue has a length only where the training split has tracklets of pid -1.
                "oim": {"weight": 0.0, "temperature": 0.1, "momentum": 0.5, "queue": 5000, "subsample": 0},
            },
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.01,
                "momentum": 0.9,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 5e-4,
            },
            "schedule": {
                "name": "constant",
                "boundaries": (),
                "factor": 0.1,
                "start": 0.5,
                "final_factor": 0.001,
                "warmup_steps": 0,
            },
            "train": (".*",),
            "lr_multipliers": (),
            "total_epochs": 0,
            "total_steps": 0,
            "accumulation_steps": 1,
        }
    )
    apply = changes.pop("apply", {})
    fields.lock()
    fields.update(changes)
    with fields.unlocked():
        fields.apply = ConfigDict(apply)
    return fields


def evaluation_stream(
    kind: str, length: int, apply: dict[str, Any], num_clips: int = 8, stride: int = 1, average: bool = True
) -> ConfigDict:
    """Return an evaluation stream: the clips of a tracklet at test and the module's keyword arguments for them.

    With `average` False the features of the `num_clips` clips are kept apart, for a system with a `similarity`. Up to
    `clip.corrupt` clips of a tracklet are corrupted, how many and which drawn from the run's seed and its name.
    """
    clip = {"kind": kind, "length": length, "num_clips": num_clips, "stride": stride, "corrupt": 0}
    return ConfigDict({"clip": clip, "apply": apply, "average": average})


def parse_argument(argument: str | None) -> tuple[str, dict[str, Any]]:
    """Split `DATASET[,key=value…]` of `--config=FILE:DATASET,…` into the dataset and the fields it sets.

    Raises:
      InputError: for a part that is no `key=value`.
    """
    dataset, *assignments = re.split(r",(?=[\w.]+=)", argument or "walkers")
    fields = {}
    for assignment in assignments:
        key, _, text = assignment.partition("=")
        value = fields[SHORT_NAMES.get(key, key)] = literal(text)
        if isinstance(value, str) and "," in value:
            raise InputError(f"{value.partition(',')[2]!r} behind the configuration is no key=value")
    dataset, comma, rest = dataset.partition(",")
    if comma:
        raise InputError(f"{rest!r} behind the configuration is no key=value")
    return dataset, fields


def pop_clip_length(changes: dict[str, Any], default: int) -> int:
    """Take `clip_length`, which several fields of a system follow, out of the fields that are set.

    Raises:
      InputError: unless it is a number of frames.
    """
    length = changes.pop("clip_length", default)
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise InputError(f"clip_length is {length!r}; it is a number of frames, at least 1")
    return length


def finish(config: ConfigDict, fields: dict[str, Any]) -> ConfigDict:
    """Set `fields` (dotted names) in the configuration and lock it.

    Raises:
      InputError: for a field that does not exist, with the nearest one that does.
    """
    config.lock()
    for name, value in fields.items():
        set_field(config, name, value)
    return config


def set_field(config: ConfigDict, name: str, value: Any) -> None:
    """Set one field by its dotted name; an unknown name or a value of another type is an `InputError`."""
    known = field_names(config)
    if name not in known:
        raise InputError(unknown_field(name, known))
    try:
        config.update_from_flattened_dict({name: value})
    except TypeError as error:
        raise InputError(f"config.{name} = {value!r} is of the wrong type; its default is {known[name]!r}") from error


def unknown_field(name: str, known) -> str:
    """Say in one sentence that there is no such field, and which one is nearest."""
    tail = {field.rpartition(".")[2]: field for field in known}
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    close = close or [tail[last] for last in difflib.get_close_matches(name.rpartition(".")[2], tail, n=1, cutoff=0.6)]
    hint = f"; did you mean config.{close[0]}?" if close else f"; known are {', '.join(sorted(known))}"
    return f"there is no field config.{name}{hint}"


def field_names(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Return every field by its dotted name, with its value; an empty group counts as a field."""
    fields = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict) and len(value):
            fields.update(field_names(value, f"{prefix}{key}."))
        else:
            fields[f"{prefix}{key}"] = value
    return fields


def nearest(name: str, known) -> str:
    """Return `, did you mean …?` when a known name is close, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f", did you mean {close[0]!r}?" if close else ""


def literal(text: str) -> Any:
    """Return the Python value that a text is, or the text where it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def explain_flag_error(arguments: list[str], error: Exception) -> str:
    """Say in one sentence what is wrong with a command line that could not be parsed."""
    flags = [argument.lstrip("-") for argument in arguments if argument.startswith("-")]
    files = [flag.partition("=")[2] for flag in flags if flag.startswith("config=")]
    files += [after for flag, after in itertools.pairwise(arguments) if flag in ("--config", "-config")]
    if files:
        try:
            known = field_names(from_file(files[0]))
        except InputError as wrong:
            return str(wrong)
        for flag in flags:
            name = flag.partition("=")[0].removeprefix("config.")
            if flag.startswith("config.") and name not in known:
                return unknown_field(name, known)
    return " ".join(str(error).split())
