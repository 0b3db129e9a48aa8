"""Configuration files, the text of `--config`, and the command line's errors in one sentence."""

import importlib.util
import itertools
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vreid_jax.config.fields import field_names, literal, nearest, unknown_field
from vreid_jax.errors import InputError
from vreid_jax.json_files import read_json
from vreid_jax.settings import plain, shortened, shown

_CONFIG_FLAGS = ("--config", "-config")
_SPLIT = (int, str)
# What all that read a run's config.json rely on; the settings of each room check the values.
RUN_SHAPE = {
    "system": str,
    "dataset": str,
    "split": _SPLIT,
    "seed": int,
    "dtype": str,
    "model": {"name": str},
    "data": {"name": str, "data_dir": str, "height": int, "width": int, "num_threads": int, "validation?": float},
    "evaluation": {
        "streams": {str: {"clip": {"kind": str, "length": int, "num_clips": int, "stride": int}, "apply": {}}},
        "metric": str,
        "batch_frames": int,
        "headline?": str,
    },
    "phases?": {str: {"apply?": {}}},
    "phase_order?": [str],
    "init_from?": str,
    "init_patterns?": [str],
    "logging?": {"progress?": bool},
    "checkpoint?": {},
}
SHORT_NAMES = {"path": "data.path", "data_dir": "data.data_dir", "bad_frames": "data.bad_frames"}


class _AsItIs(SourceFileLoader):
    """Runs a file without bytecode, which would lie beside it, and be stale after two changes within a second."""

    def get_code(self, fullname: str):
        """Compile the file."""
        del fullname
        return self.source_to_code(self.get_data(self.path), self.path)


def from_file(name: str) -> ConfigDict:
    """Return the locked configuration of `FILE[:DATASET[,key=value…]]`, the text that `--config` takes.

    Args:
      name: `FILE` is a path, or the name of a configuration that comes with the library, as in `m3d:mars`.

    Raises:
      InputError: when there is no such file, dataset or field, the file does not run, or it returns something else.
    """
    file, _, argument = str(name).partition(":")
    path = config_path(file)
    loader = _AsItIs(f"vreid_jax_configuration_{os.path.basename(path)}", path)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None  # a loader of a file always has one
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # where a module defined in the file looks for its own names
    try:
        loader.exec_module(module)
        config = module.get_config(argument or None)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the file is a program of the user's
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else 1)
        raise InputError(f"{path} line {line} is not a configuration: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise InputError(f"get_config of {path} returns a {type(config).__name__}; it must return a ConfigDict")
    return config


def config_path(name: str) -> str:
    """Return the path of a configuration file, given as that path or as the name of one that comes with the library.

    Raises:
      InputError: when it is neither, with the nearest name.
    """
    if os.path.isfile(name):
        return name
    shipped = shipped_configs()
    if name in shipped:
        return str(shipped[name])
    hint = nearest(Path(name).stem, shipped, "the library comes with")
    raise InputError(f"there is no configuration file {shortened(name)}{hint}")


def shipped_configs() -> dict[str, Path]:
    """Return the configurations that come with the library: the path of each by its name."""
    package = Path(__file__).parents[1]
    inside = package / "configs"  # of an installed wheel; in a checkout the folder lies beside the package
    folder = inside if inside.is_dir() else package.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def with_config_paths(arguments: Sequence[str]) -> list[str]:
    """Return a command line whose `--config` names a path, where it named a configuration of the library.

    The file is run here first: the flag itself does not report an error of the file if it holds an earlier value.

    Raises:
      InputError: as `from_file`.
    """
    found = []
    for before, argument in itertools.pairwise(("", *arguments)):
        flag, equals, value = ("", "", argument) if before in _CONFIG_FLAGS else argument.partition("=")
        if before in _CONFIG_FLAGS or (equals and flag in _CONFIG_FLAGS):
            file, colon, rest = value.partition(":")
            argument = f"{flag}{equals}{config_path(file)}{colon}{rest}"
            from_file(value)
        found.append(argument)
    return found


def parse_argument(argument: str | None) -> tuple[str, dict[str, Any]]:
    """Split `DATASET[,key=value…]` of `--config=FILE:DATASET,…` into the dataset and the fields it sets.

    Raises:
      InputError: for a part that is not `key=value`.
    """
    dataset, *assignments = re.split(r",(?=[\w.]+=)", argument or "walkers")
    fields = {}
    for assignment in assignments:
        key, _, text = assignment.partition("=")
        value = fields[SHORT_NAMES.get(key, key)] = literal(text)
        if isinstance(value, str) and "," in value:
            raise InputError(f"{shown(value.partition(',')[2])} behind the configuration is not key=value")
    dataset, comma, rest = dataset.partition(",")
    if comma:
        raise InputError(f"{shown(rest)} behind the configuration is not key=value")
    return dataset, fields


def pop_clip_length(changes: dict[str, Any], default: int) -> int:
    """Take `clip_length`, which several fields of a system follow, out of the fields that are set.

    Raises:
      InputError: unless it is a number of frames.
    """
    length = changes.pop("clip_length", default)
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise InputError(f"clip_length is {shown(length)}; it is a number of frames, at least 1")
    return length


def explain_flag_error(arguments: list[str], error: Exception) -> str:
    """Say in one sentence what is wrong with a command line that could not be parsed."""
    flags = [argument.lstrip("-") for argument in arguments if argument.startswith("-")]
    files = [flag.partition("=")[2] for flag in flags if flag.startswith("config=")]
    files += [after for flag, after in itertools.pairwise(arguments) if flag in _CONFIG_FLAGS]
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


def read_config(workdir: Path) -> ConfigDict:
    """Return the configuration of a run, as its workdir holds it in `config.json`: locked, its lists tuples again.

    Raises:
      InputError: when the folder holds no run, or its `config.json` is damaged.
    """
    file = workdir / "config.json"
    if not os.path.isfile(file):
        raise InputError(f"{workdir} is not the workdir of a run: it has no config.json")
    stored = read_json(file, RUN_SHAPE)
    try:
        return ConfigDict(plain(stored)).lock()
    except (ValueError, TypeError, AttributeError) as error:  # a name that a field cannot have
        raise InputError(f"{file} is damaged: {error}") from error
