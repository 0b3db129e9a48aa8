"""Values that no run can have, found before anything is built, and which phase a wrong one is of."""

import contextlib
import numbers
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ml_collections import ConfigDict

from vreid_jax.config import DATASETS, dataset_of, field_names
from vreid_jax.datasets.tracklet_folder.layout import BAD_FRAMES
from vreid_jax.errors import InputError
from vreid_jax.training.state import matching

POSITIVE = (
    "data.height",
    "data.width",
    "data.num_threads",
    "evaluation.batch_frames",
    "logging.every_steps",
    "checkpoint.every_steps",
    "checkpoint.keep",
)


def _number(accepted: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, numbers.Real) and bool(accepted(value))


def _each(accepted: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, Iterable) and all(map(accepted, values))


def _is_multiplier(pair: Any) -> bool:
    return isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str) and _NOT_NEGATIVE[0](pair[1])


_NOT_NEGATIVE = (_number(lambda x: x >= 0), "it must not be negative")
_POSITIVE = (_number(lambda x: x > 0), "it must be above 0")
_FRACTION = (_number(lambda x: 0 <= x <= 1), "it is a fraction of the phase, from 0 to 1")
_DECAY = (_number(lambda x: 0 <= x < 1), "it must be at least 0 and below 1")
_OF_A_PHASE = {  # field -> (what its value must be, in words)
    "optimizer.learning_rate": _NOT_NEGATIVE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.momentum": _DECAY,
    "optimizer.b1": _DECAY,
    "optimizer.b2": _DECAY,
    "optimizer.eps": _NOT_NEGATIVE,
    "schedule.boundaries": (_each(_FRACTION[0]), "they are fractions of the phase, from 0 to 1"),
    "schedule.start": _FRACTION,
    "schedule.factor": _POSITIVE,
    "schedule.final_factor": _POSITIVE,
    "schedule.warmup_steps": _NOT_NEGATIVE,
    "lr_multipliers": (_each(_is_multiplier), "it holds pairs (pattern, factor), as in (('.*/head/.*', 10.0),)"),
}


def check_values(config: ConfigDict) -> None:
    """Raise `InputError` for the first field with a value that no run can have."""
    values = field_names(config)
    for name in POSITIVE:
        if values[name] < 1:
            raise InputError(f"config.{name} is {values[name]}; it must be at least 1")
    if config.data.bad_frames not in BAD_FRAMES:
        raise InputError(f"config.data.bad_frames is {config.data.bad_frames!r}; it is one of {', '.join(BAD_FRAMES)}")
    if not 0 <= config.seed < 2**32:
        raise InputError(f"seed is {config.seed}; it must be at least 0 and below 2**32")
    if config.evaluation.shortlist < 0:
        raise InputError(f"config.evaluation.shortlist is {config.evaluation.shortlist}; it must not be negative")
    if dataset_of(config.data.name) in DATASETS.keys() - {config.dataset}:
        raise InputError(
            f"config.data.name is {config.data.name!r}, which is not of dataset {config.dataset!r}: the dataset is named "
            "behind the configuration, as in --config=configs/m3d.py:mars"
        )
    if not 0 <= config.model.get("dropout", 0.0) < 1:
        raise InputError(f"config.model.dropout is {config.model.dropout}; it must be at least 0 and below 1")
    if not config.phase_order:
        raise InputError("phase_order is empty; name at least one phase")
    if len(set(config.phase_order)) < len(config.phase_order):
        raise InputError(f"phase_order names a phase twice: {', '.join(config.phase_order)}")
    for name in config.phase_order:
        if name not in config.phases:
            raise InputError(f"phase_order names {name!r}, but the phases are {', '.join(config.phases)}")
        _check_phase(f"config.phases.{name}", config.phases[name])


def _check_phase(name: str, phase: ConfigDict) -> None:
    for field, value in field_names(phase.augment).items():
        if not 0 <= value <= 1:
            raise InputError(f"{name}.augment.{field} is {value}; it is a probability")
    fields = field_names(phase)
    of_losses = {f"losses.{loss}.weight": _NOT_NEGATIVE for loss in phase.losses}
    for field, (accepted, words) in (_OF_A_PHASE | of_losses).items():
        if field in fields and not accepted(fields[field]):
            raise InputError(f"{name}.{field} is {fields[field]!r}; {words}")


def check_patterns(phase: ConfigDict, parameters: Iterable[str]) -> None:
    """Raise `InputError` for a pattern of a phase that matches none of the names of the model's parameters."""
    names = list(parameters)
    given = [("train", pattern) for pattern in phase.train]
    given += [("lr_multipliers", pattern) for pattern, _ in phase.lr_multipliers]
    for field, pattern in given:
        if not matching(names, [pattern]):
            raise InputError(f"{field} names {pattern!r}, which matches no parameter of this model")


@contextlib.contextmanager
def error_context(name: str) -> Iterator[None]:
    """Puts the name of the phase before what an `InputError` of the block says."""
    try:
        yield
    except InputError as error:
        raise InputError(f"phase {name}: {error}") from error
