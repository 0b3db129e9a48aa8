"""The folder of a run: whose it is, whether this configuration may go on in it, and that only one process trains there."""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ml_collections import ConfigDict

from vreid_jax.config import field_names
from vreid_jax.config.files import read_config
from vreid_jax.config.run import Data, Evaluation
from vreid_jax.errors import InputError
from vreid_jax.files import UNFINISHED, atomic_file, given_path, only_process, remove_unfinished
from vreid_jax.json_files import read_json
from vreid_jax.retrieval.distances import plain_metric
from vreid_jax.settings import plain

LOCK = ".lock"  # held while a process trains
FOLDERS = ("checkpoints", "features", "metrics", "tensorboard")
FILES = ("config.json", "metrics.jsonl", "results.json")
# Logging, where things lie, how much is computed at once: results do not depend on them.
INCIDENTAL_FIELDS = (
    r"(logging|checkpoint)\..*",
    r"data\.(num_threads|num_workers|data_dir|feature_dir)",
    r"evaluation\.batch_frames",
)
# What may change between two starts of one run: these, lengths, how results are computed.
FREE_FIELDS = (*INCIDENTAL_FIELDS, r"phases\.\w+\.total_(steps|epochs)", r"evaluation\..*")
FREE_ELSEWHERE = r"data\.(path|bad_frames)"  # of `folder`, for the evaluation of a run on another dataset


def check_workdir(path: Path, config: ConfigDict) -> dict | None:
    """Check that the folder is free for a new run or holds this one, and return the content of its config.json.

    Raises:
      InputError: when the folder holds something else, or a run of another configuration (naming what differs).
    """
    _check_place(path)
    file = path / "config.json"
    stored = None
    if file.exists():
        stored = read_config(path).to_dict()
        free = FREE_FIELDS if stored.get("dataset") == "folder" else (*FREE_FIELDS, FREE_ELSEWHERE)
        if different := differences(stored, plain(json.loads(config.to_json())), free):
            raise InputError(
                f"workdir {path} holds a run of another configuration: {'; '.join(different)}. "
                f"Use another workdir, or the same fields"
            )
    elif path.is_dir() and any(not _is_left_behind(entry) for entry in path.iterdir()):
        raise InputError(
            f"workdir {path} is not empty and does not hold a run (it has no config.json); use an empty or a new folder"
        )
    return stored


def folder_of_results(config: ConfigDict) -> str:
    """Return the whole path of the folder whose pictures `evaluation.dataset` scores, empty for other datasets."""
    path = Data.parse(config.data, "config.data").path if config.evaluation.dataset == "folder" else ""
    return os.path.realpath(given_path(path)) if path else ""


def check_results(path: Path, config: ConfigDict) -> None:
    """Raise `InputError` where the scores of one folder of pictures would replace those of another."""
    folder, file = folder_of_results(config), path / f"results{Evaluation.parse(config.evaluation).suffix}.json"
    if not folder or not file.exists():
        return
    stored = {}
    with contextlib.suppress(InputError):  # a damaged one does not say of which it is
        stored = read_json(file, {"path": str})
    if (other := stored.get("path")) != folder:
        raise InputError(
            f"{file} holds the scores of {other or 'a folder that it does not name'}: move it away, or evaluate in another "
            "workdir"
        )


def _check_place(path: Path) -> None:
    """Raise `InputError` where a run could not be written, which would show only after much work."""
    whole = str(path.absolute())
    try:
        whole.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the path of workdir {path} is not UTF-8, and checkpoints need that: use another one"
        ) from error
    try:
        os.stat(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(f"workdir {path} cannot be used: {error.strerror}") from error
    if path.exists() and not path.is_dir():
        raise InputError(f"workdir {path} is a file; it must be a folder")
    for name in (*FOLDERS, *FILES):
        entry, kind = path / name, "folder" if name in FOLDERS else "file"
        if os.path.lexists(entry) and not (entry.is_dir() if kind == "folder" else entry.is_file()):
            raise InputError(f"{entry} is in the way: it must be a {kind}; move it elsewhere")
    places = [path, *(path / name for name in FOLDERS)]
    there = [place for place in places if place.is_dir()] or [next(up for up in path.absolute().parents if up.is_dir())]
    for place in there:
        if not os.access(place, os.W_OK | os.X_OK):
            raise InputError(f"cannot write to {place}, where the run would be kept: use another workdir")


def _is_left_behind(entry: Path) -> bool:  # by a start that did not get far
    empty = entry.name == "checkpoints" and entry.is_dir() and not any(entry.iterdir())
    return empty or entry.name == LOCK or entry.name.endswith(UNFINISHED)


def open_workdir(path: Path, config: ConfigDict) -> None:
    """Write the configuration into the folder, and say so if the metric of a run changes.

    Raises:
      InputError: as `opened_workdir`.
    """
    with opened_workdir(path, config):
        pass


@contextlib.contextmanager
def opened_workdir(path: Path, config: ConfigDict) -> Iterator[None]:
    """Write what `open_workdir` does; it takes its place when the block ends, unless that fails.

    Raises:
      InputError: as for `check_workdir`, and when the folder cannot be written to.
    """
    stored = check_workdir(path, config)
    _make(path)
    remove_unfinished(path)
    with atomic_file(path / "config.json") as half:
        half.write_text(config.to_json(indent=1) + "\n")
        yield
    metric = config.evaluation.metric
    if stored and (old := stored.get("evaluation", {}).get("metric", metric)) != metric:
        print(
            f"{path} is evaluated by {metric}, and searched by {plain_metric(metric)} from now on (before: {old})",
            flush=True,
        )


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to workdir {path}: {error.strerror}; use another one") from error


def check_checkpoints(path: Path) -> None:
    """Raise `InputError` if there is nothing to evaluate."""
    if not os.path.isdir(path / "checkpoints"):
        raise InputError(f"workdir {path} holds no checkpoint to evaluate; train first")


@contextlib.contextmanager
def only_trainer(path: Path) -> Iterator[None]:
    """Keep other processes of this machine from training in the workdir; `InputError` if one already does."""
    _make(path)
    with only_process(path / LOCK, f"another process trains in workdir {path}: wait for it, or use another one"):
        yield


def differences(stored: dict, now: dict, free: Iterable[str]) -> list[str]:
    """Return in words where two configurations differ, but for the fields whose names match one of `free`."""
    old, new = (field_names(ConfigDict(tree)) for tree in (stored, now))
    names = sorted(old.keys() | new.keys())
    missing = "nothing"
    return [
        f"{name} was {old.get(name, missing)!r}, is {new.get(name, missing)!r}"
        for name in names
        if old.get(name, missing) != new.get(name, missing) and not any(re.fullmatch(f, name) for f in free)
    ]
