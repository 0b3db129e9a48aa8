"""JSON files read into values of a known shape: whoever reads one sees only what the shape allows.

A shape is a type (`float` takes whole numbers, too, and nothing infinite; `object` takes anything), a list of one shape,
a dictionary of shapes by name (a name that ends in `?` may be missing, names that it lacks are not looked at),
`{str: shape}` for any names, or a tuple of shapes of which one has to fit.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vreid_jax.errors import InputError

_WORDS = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false", None: "null"}


def read_json(path: Path, shape: Any) -> Any:
    """Return what a JSON file holds.

    Raises:
      InputError: when the file cannot be read, is not JSON, or holds something of another shape.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return parse_json(content, shape)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error


def parse_json(content: str | bytes, shape: Any, name: str = "") -> Any:
    """Return what a JSON text, called `name`, holds; a `ValueError` says what is wrong unless it has the shape."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name or 'it'} is not valid JSON ({error})") from error
    if wrong := _wrong(value, shape, name):
        raise ValueError(wrong)
    return value


def _wrong(value: Any, shape: Any, name: str) -> str:
    """Return what is wrong with the part `name` of a value; empty if nothing is."""
    if isinstance(shape, tuple):
        found = [_wrong(value, each, name) for each in shape]
        return "" if "" in found else found[0]
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return _instead(value, "an object", name)
        parts = []
        for key, part in shape.items():
            if key is str:
                parts += [(own, part) for own in value]
            elif key.rstrip("?") in value:
                parts.append((key.rstrip("?"), part))
            elif not key.endswith("?"):
                return f"{name or 'it'} lacks {key}"
        found = (_wrong(value[key], part, f"{name}.{key}".lstrip(".")) for key, part in parts)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            return _instead(value, "a list", name)
        found = (_wrong(each, shape[0], f"{name}[{number}]") for number, each in enumerate(value))
    else:
        return "" if _fits(value, shape) else _instead(value, _WORDS.get(shape, str(shape)), name)
    return next((wrong for wrong in found if wrong), "")


def _fits(value: Any, kind: Any) -> bool:
    if kind is object or kind is None:
        return kind is object or value is None
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, kind)


def _instead(value: Any, wanted: str, name: str) -> str:
    seen = json.dumps(value)
    return f"{name or 'it'} is {seen if len(seen) <= 40 else f'{seen[:37]}...'} instead of {wanted}"
