"""Settings: frozen dataclasses read from a configuration, whose construction is the check."""

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from ml_collections import ConfigDict

from vreid_jax.errors import InputError

Group = Mapping[str, Any] | ConfigDict
T = TypeVar("T", bound="Settings")


@dataclasses.dataclass(frozen=True)
class Rule:
    """What the value of a setting must be: `words` completes the sentence "FIELD is VALUE; …"."""

    accepts: Callable[[Any], bool]
    words: str


def _number(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, numbers.Real) and math.isfinite(value) and bool(accepts(value))


def each(rule: Rule, words: str) -> Rule:
    """Return the rule for a sequence whose every element follows `rule`."""
    return Rule(lambda values: isinstance(values, Iterable) and all(map(rule.accepts, values)), words)


def one_of(names: Iterable[str]) -> Rule:
    """Return the rule for one of a few names."""
    known = tuple(names)
    return Rule(lambda value: value in known, f"it is one of {', '.join(known)}")


AT_LEAST_ONE = Rule(_number(lambda x: x >= 1), "it must be at least 1")
NOT_NEGATIVE = Rule(_number(lambda x: x >= 0), "it must not be negative")
POSITIVE = Rule(_number(lambda x: x > 0), "it must be above 0")
FRACTION = Rule(_number(lambda x: 0 <= x <= 1), "it is a fraction of the phase, from 0 to 1")
FROM_0_TO_1 = Rule(_number(lambda x: 0 <= x <= 1), "it must be from 0 to 1")
SCALE = Rule(_number(lambda x: 0 < x <= 1), "it must be above 0 and at most 1")
PROBABILITY = Rule(_number(lambda x: 0 <= x <= 1), "it is a probability")
BELOW_ONE = Rule(_number(lambda x: 0 <= x < 1), "it must be at least 0 and below 1")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The base of all settings: a field `Annotated[TYPE, RULE]` has a rule, one whose type is `Settings` is a group.

    Raises:
      InputError: on construction, for the first field whose value breaks its rule.
    """

    def __post_init__(self):
        for name, (_, rule) in _fields(type(self)).items():
            value = getattr(self, name)
            if rule and not rule.accepts(value):
                raise InputError(f"{name} is {value!r}; {rule.words}")

    @classmethod
    def parse(cls: type[T], values: Group, where: str) -> T:
        """Read the settings from a group of a configuration; `where` is its dotted name.

        A field with a default may be missing: configurations of before it was there keep their meaning.

        Raises:
          InputError: for a value that breaks a rule, or a field that is missing, by its whole name.
        """
        found = {}
        defaults = {field.name for field in dataclasses.fields(cls) if field.default is not dataclasses.MISSING}
        for name, (kind, _) in _fields(cls).items():
            if name not in values:
                if name in defaults:
                    continue
                raise InputError(
                    f"{where}.{name} is missing: the configuration was written by another version of vreid_jax"
                )
            value = values[name]
            if isinstance(kind, type) and issubclass(kind, Settings) and not isinstance(value, Settings):
                found[name] = kind.parse(value, f"{where}.{name}")
            else:
                found[name] = plain(value)
        try:
            return cls(**found)
        except InputError as error:
            raise InputError(f"{where}.{error}") from error


@functools.cache
def _fields(cls: type[Settings]) -> dict[str, tuple[Any, Rule | None]]:
    """Return the type and the rule of every field."""
    hints = get_type_hints(cls, include_extras=True)
    fields = {}
    for field in dataclasses.fields(cls):
        kind, *rules = (
            get_args(hints[field.name]) if get_origin(hints[field.name]) is Annotated else [hints[field.name]]
        )
        fields[field.name] = kind, rules[0] if rules else None
    return fields


def plain(value: Any) -> Any:
    """Return a value of a configuration with dictionaries for its groups and tuples for its lists."""
    if isinstance(value, list | tuple):
        return tuple(plain(part) for part in value)
    if isinstance(value, Mapping | ConfigDict):
        return {key: plain(part) for key, part in value.items()}
    return value
