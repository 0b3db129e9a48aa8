"""How fast people walk between cameras: a small TOML file that a person writes, and what a file of identities keeps of it."""

import dataclasses
import math
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from vreid_jax.errors import InputError
from vreid_jax.files import given_path, read_regular


@dataclasses.dataclass(frozen=True)
class Walk:
    """The way between two cameras.

    Attributes:
      cameras: numbers of the two, both ways.
      min_seconds: nobody is seen by the one sooner than that after the other saw them last, at 0 nor at the same moment;
        -infinite: nothing is said.
      max_seconds: whoever comes later did not come straight; infinite: nothing is said.
    """

    cameras: tuple[int, int]
    min_seconds: float = -math.inf
    max_seconds: float = math.inf


def read_walks(path: str | Path) -> tuple[Walk, ...]:
    """Read the ways between cameras.

    The file has a table for each two cameras between which something is known:

        [[walk]]
        between = [1, 2]
        min_seconds = 20
        max_seconds = 120

    Raises:
      InputError: when the file cannot be read, is not TOML, or says anything else.
    """
    path = given_path(path)
    try:
        content = tomllib.loads(read_regular(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error
    tables = content.get("walk")
    if set(content) != {"walk"} or not isinstance(tables, list) or not tables:
        raise InputError(f"{path} has to consist of tables [[walk]], each with between = [CAMERA, CAMERA]")
    return walks_of(tables, f"{path}")


def walks_of(tables: Sequence[object], where: str) -> tuple[Walk, ...]:
    """Return what tables `[[walk]]` say; `InputError`, which begins with `where`, for a table that says anything else."""
    walks = tuple(_walk(table, f"{where}: [[walk]] number {number}") for number, table in enumerate(tables, 1))
    pairs = [walk.cameras for walk in walks]
    for pair in pairs:
        if pairs.count(pair) > 1:
            raise InputError(f"{where} has the way between the cameras {pair[0]} and {pair[1]} twice: keep one of them")
    return walks


def tables_of(walks: Sequence[Walk]) -> list[dict[str, list[int] | float]]:
    """Return the tables that `walks_of` reads."""
    return [
        {
            "between": list(walk.cameras),
            **({"min_seconds": walk.min_seconds} if walk.min_seconds > -math.inf else {}),
            **({"max_seconds": walk.max_seconds} if walk.max_seconds < math.inf else {}),
        }
        for walk in walks
    ]


def _walk(table: object, where: str) -> Walk:
    if not isinstance(table, dict):
        raise InputError(f"{where} is not a table")
    if unknown := sorted(set(table) - {"between", "min_seconds", "max_seconds"}):
        raise InputError(f"{where} has {unknown[0]}; there are between, min_seconds and max_seconds")
    between = table.get("between")
    if not isinstance(between, list) or len(between) != 2 or not all(_is_camera(each) for each in between):
        raise InputError(f"{where} needs between = [CAMERA, CAMERA], the numbers of two cameras")
    if between[0] == between[1]:
        raise InputError(f"{where} is between camera {between[0]} and itself: name two cameras")
    least = _seconds(table, "min_seconds", where) if "min_seconds" in table else -math.inf
    most = _seconds(table, "max_seconds", where) if "max_seconds" in table else math.inf
    if least > most:
        raise InputError(f"{where} has min_seconds={least:g} above max_seconds={most:g}")
    return Walk((min(between), max(between)), least, most)


def _is_camera(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _seconds(table: dict, name: str, where: str) -> float:
    value = table[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= sys.float_info.max:
        raise InputError(f"{where} has {name}={value!r}; it must be a number of seconds, from 0")
    return float(value)


def check_cameras_of(walks: Sequence[Walk], camids: set[int], path: str | Path) -> None:
    """Raise `InputError` when a way leads to a camera that no gallery has."""
    for walk in walks:
        for camera in walk.cameras:
            if camera not in camids:
                known = ", ".join(map(str, sorted(camids - {0}))) or "none that is known"
                raise InputError(f"{path} names camera {camera}, and the galleries have {known}")
