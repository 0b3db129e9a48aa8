"""Fields by their dotted names: set, list, and suggest the nearest one for a misspelt name."""

import ast
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from vreid_jax.errors import InputError
from vreid_jax.settings import shortened, shown


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
    except (TypeError, ValueError) as error:  # the latter: the names of a group that cannot be names of fields
        raise InputError(
            f"config.{name} = {shown(value)} is of the wrong type; its default is {shown(known[name])}"
        ) from error


def unknown_field(name: str, known: Mapping[str, Any]) -> str:
    """Return one sentence that says there is no such field, and which one is nearest."""
    tail = {field.rpartition(".")[2]: field for field in known}
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    close = close or [tail[last] for last in difflib.get_close_matches(name.rpartition(".")[2], tail, n=1, cutoff=0.6)]
    groups = sorted({field.partition(".")[0] for field in known})
    hint = f"; did you mean config.{close[0]}?" if close else f"; fields and groups are {', '.join(groups)}"
    return f"there is no field config.{shortened(name)}{hint}"


def field_names(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Return every field by its dotted name, with its value; an empty group counts as a field."""
    fields = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict) and len(value):
            fields.update(field_names(value, f"{prefix}{key}."))
        else:
            fields[f"{prefix}{key}"] = value
    return fields


def nearest(name: str, known: Iterable[str], words: str = "known are") -> str:
    """Return the end of a sentence about an unknown name: the nearest known one, if one is close, and all of them.

    Args:
      name: the unknown one.
      known: all that exist.
      words: what introduces them, e.g. "it is one of".
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    listed = f"{words} {', '.join(names)}"
    return f", did you mean {close[0]!r}? {listed[0].upper()}{listed[1:]}" if close else f"; {listed}"


def literal(text: str) -> Any:
    """Return the Python value that a text is, or the text itself if it is not one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last two: brackets without end
        return text


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Return the names that one of the regular expressions matches as a whole; `InputError` for a broken expression."""
    try:
        return [name for name in names if any(re.fullmatch(pattern, name) for pattern in patterns)]
    except re.error as error:
        raise InputError(f"{error.pattern!r} is not a regular expression: {error}") from error
