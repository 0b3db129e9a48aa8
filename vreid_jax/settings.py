"""Settings: frozen dataclasses read from a configuration, whose construction is the check.

The type of a field says what its value must be, elements of tuples included, and `Annotated[TYPE, RULE]` says more:
`tuple[Annotated[float, POSITIVE], ...]`. The same check serves the fields of models and the arguments of functions.
"""

import dataclasses
import functools
import inspect
import numbers
import re
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ml_collections import ConfigDict

from vreid_jax.errors import InputError
from vreid_jax.files import given_path

Group = Mapping[str, Any] | ConfigDict
Number = float | int
T = TypeVar("T", bound="Settings")

LARGEST = 2**31 - 1  # of a whole number, for devices count in int32
LARGEST_FLOAT = 3.4e38  # beyond it a float32 is infinite
LONGEST_TEXT = 2**16
_SHOWN = 120  # characters of a value in a message


@dataclasses.dataclass(frozen=True)
class Rule:
    """What the value of a setting must be: `words` completes the sentence "FIELD is VALUE; …".

    A rule that stands `alone` takes the place of the one of the type; any other is asked after it.
    """

    accepts: Callable[[Any], bool]
    words: str
    alone: bool = False


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_clean(text: str) -> bool:
    return "\0" not in text and len(text) <= LONGEST_TEXT and not re.search("[\ud800-\udfff]", text)


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _is_path(text: str) -> bool:
    try:
        if text:  # empty: none is given
            given_path(text)
    except InputError:
        return False
    return True


_TYPES: dict[Any, tuple[str, tuple[Rule, ...]]] = {
    bool: ("True or False", (Rule(lambda x: isinstance(x, bool), "it must be True or False"),)),
    int: (
        "a whole number",
        (
            Rule(_is_whole, "it must be a whole number"),
            Rule(lambda x: -LARGEST <= x <= LARGEST, "it must be below 2**31"),
        ),
    ),
    float: (
        "a number",
        (
            Rule(_is_number, "it must be a number"),
            Rule(lambda x: abs(x) <= LARGEST_FLOAT, "it must be a finite number, as a float32 holds it"),
            Rule(
                lambda x: not _is_whole(x) or abs(x) <= LARGEST,
                "a whole number must be below 2**31; write a larger one with an exponent, as 1e12",
            ),
        ),
    ),
    str: (
        "text",
        (
            Rule(lambda x: isinstance(x, str), "it must be text"),
            Rule(_is_clean, f"it must be text that UTF-8 can write, without NUL, of at most {LONGEST_TEXT:,} letters"),
        ),
    ),
    types.NoneType: ("None", (Rule(lambda x: x is None, "it must be None"),)),
}


def one_of(names: Iterable[str]) -> Rule:
    """Return the rule for one of a few names."""
    known = tuple(names)
    return Rule(lambda value: value in known, f"it is one of {', '.join(known)}")


def from_to(least: int, most: int) -> Rule:
    """Return the rule for a number from `least` to `most`."""
    return Rule(lambda x: least <= x <= most, f"it must be at least {least:,} and at most {most:,}")


def at_least(least: int) -> Rule:
    """Return the rule for a number that is not below `least`."""
    return Rule(lambda x: x >= least, f"it must be at least {least}")


AT_LEAST_ONE = at_least(1)
NOT_NEGATIVE = Rule(lambda x: x >= 0, "it must not be negative")
POSITIVE = Rule(lambda x: x > 0, "it must be above 0")
FRACTION = Rule(lambda x: 0 <= x <= 1, "it is a fraction of the phase, from 0 to 1")
FROM_0_TO_1 = Rule(lambda x: 0 <= x <= 1, "it must be from 0 to 1")
SCALE = Rule(lambda x: 0 < x <= 1, "it must be above 0 and at most 1")
PROBABILITY = Rule(lambda x: 0 <= x <= 1, "it is a probability")
BELOW_ONE = Rule(lambda x: 0 <= x < 1, "it must be at least 0 and below 1")
SEED = Rule(lambda x: _is_whole(x) and 0 <= x < 2**32, "it must be at least 0 and below 2**32", alone=True)

Pattern = Annotated[str, Rule(_is_pattern, "it must be a regular expression")]
FilePath = Annotated[
    str,
    Rule(
        _is_path, "it must be a path where something can be: short enough, without loops of links, ~ only before a user"
    ),
]


def check(value: Any, kind: Any, where: str) -> None:
    """Check that a value is of a type as an annotation says it, rules included.

    Args:
      value: with tuples for lists.
      kind: `bool`, `int`, `float`, `str`, `None`, a class, `tuple[X, ...]`, `tuple[X, Y]`, `Mapping[str, X]`, a union
        of such, or one of them `Annotated` with rules. An int is a float; a bool is neither. Others accept everything.
      where: name of the value, for messages.

    Raises:
      InputError: for the first part of the value that is not what it must be.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        kind, *rules = arguments
        if not any(rule.alone for rule in rules):
            check(value, kind, where)
        _follow(value, rules, where)
    elif origin in (Union, types.UnionType):
        if float in arguments and set(arguments) <= {int, float}:
            check(value, float, where)
        elif not any(_fits(value, one) for one in arguments):
            _refuse(value, f"it must be {_described(kind)}", where)
    elif kind in _TYPES:
        _follow(value, _TYPES[kind][1], where)
    elif origin is tuple:
        endless = arguments[-1:] == (Ellipsis,)
        if not isinstance(value, tuple) or not (endless or len(value) == len(arguments)):
            _refuse(value, f"it must be {_described(kind)}", where)
        for place, part in enumerate(value):
            check(part, arguments[0 if endless else place], f"{where}[{place}]")
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping | ConfigDict):
            _refuse(value, f"it must be {_described(kind)}", where)
        for key, part in value.items():
            check(key, arguments[0], f"a name in {where}")
            check(part, arguments[1], f"{where}.{key}")
    elif isinstance(kind, type) and kind is not Any and not isinstance(value, kind):
        _refuse(value, f"it must be {_described(kind)}", where)


def _follow(value: Any, rules: Iterable[Rule], where: str) -> None:
    for rule in rules:
        if not rule.accepts(value):
            _refuse(value, rule.words, where)


def _refuse(value: Any, words: str, where: str) -> None:
    raise InputError(f"{where} is {shown(value)}; {words}")


def _fits(value: Any, kind: Any) -> bool:
    try:
        check(value, kind, "")
    except InputError:
        return False
    return True


def _described(kind: Any) -> str:
    """Return what a type holds, as in "it must be …"."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        alone = [rule.words.removeprefix("it must be ") for rule in arguments[1:] if rule.alone]
        return alone[0] if alone else _described(arguments[0])
    if kind in _TYPES:
        return _TYPES[kind][0]
    if origin in (Union, types.UnionType):
        numeric = set(arguments) <= {int, float}
        return "a number" if numeric else " or ".join(_described(one) for one in arguments)
    if origin is tuple and arguments[-1:] == (Ellipsis,):
        return f"a tuple, each part of it {_described(arguments[0])}"
    if origin is tuple:
        return f"a tuple of {len(arguments)}: {', '.join(_described(one) for one in arguments)}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a group of fields"
    return f"a {getattr(kind, '__name__', kind)}"


def shown(value: Any) -> str:
    """Return a value as messages show it: on one line, and not beyond what one reads."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write whole numbers of thousands of digits
        return "a number of thousands of digits"
    return shortened(text)


def shortened(text: str) -> str:
    """Return a text as messages show it, without quotes."""
    text = " ".join(text.splitlines())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def group(value: Any, where: str) -> Group:
    """Return a value that is a group of fields; `InputError` for anything else."""
    check(value, Mapping[str, Any], where)
    return value


def check_arguments(function: Callable, given: Group, where: str, taken: Collection[str] = ()) -> None:
    """Check the keyword arguments that a configuration gives to a function by its signature and its annotations.

    Args:
      function: who gets them.
      given: arguments by name.
      where: name of `given`, for messages.
      taken: parameters that are not the configuration's to give.

    Raises:
      InputError: for an argument that the function does not have, or whose value is not of its type.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in taken]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for name, value in given.items():
        if name not in known and not takes_all:
            listed = f"there are {', '.join(known)}" if known else "there are none"
            raise InputError(f"{where}.{name} does not exist; of such arguments {listed}")
        check(value, hints.get(name, Any), f"{where}.{name}")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The base of all settings: a field whose type is `Settings` is a group, one of a mapping to `Settings` holds groups.

    Raises:
      InputError: on construction, for the first field whose value is not of its type or breaks its rule.
    """

    def __post_init__(self):
        for name, kind in field_types(type(self)).items():
            check(getattr(self, name), kind, name)

    @classmethod
    def parse(cls: type[T], values: Any, where: str) -> T:
        """Read the settings from a group of a configuration, or whatever stands there; `where` is its dotted name.

        A field with a default may be missing: configurations of before it was there keep their meaning.

        Raises:
          InputError: for a value that breaks a rule, or a field that is missing, by its whole name.
        """
        found = {}
        group(values, where)
        defaults = {field.name for field in dataclasses.fields(cls) if field.default is not dataclasses.MISSING}
        for name, kind in field_types(cls).items():
            if name in values:
                found[name] = _read(values[name], kind, f"{where}.{name}")
                check(found[name], kind, f"{where}.{name}")
            elif name not in defaults:
                raise InputError(
                    f"{where}.{name} is missing: the configuration was written by another version of vreid_jax"
                )
        try:
            return cls(**found)
        except InputError as error:
            raise InputError(f"{where}.{error}") from error


def _read(value: Any, kind: Any, where: str) -> Any:
    """Return a value of a configuration with settings for the groups that `kind` names."""
    if isinstance(kind, type) and issubclass(kind, Settings) and not isinstance(value, Settings):
        return kind.parse(value, where)
    origin = get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _read(part, get_args(kind)[1], f"{where}.{key}") for key, part in group(value, where).items()}
    return plain(value)


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """Return the annotation of every field of a dataclass."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def plain(value: Any) -> Any:
    """Return a value of a configuration with dictionaries for its groups and tuples for its lists."""
    if isinstance(value, list | tuple):
        return tuple(plain(part) for part in value)
    if isinstance(value, Mapping | ConfigDict):
        return {key: plain(part) for key, part in value.items()}
    return value
