"""Values that no run can have, found before anything is built, and which phase a wrong one is of."""

import contextlib
from collections.abc import Iterable, Iterator

from ml_collections import ConfigDict

from vreid_jax.config import field_names
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


def check_values(config: ConfigDict) -> None:
    """Raise `InputError` for the first field with a value that no run can have."""
    values = field_names(config)
    for name in POSITIVE:
        if values[name] < 1:
            raise InputError(f"config.{name} is {values[name]}; it must be at least 1")
    if config.data.bad_frames not in BAD_FRAMES:
        raise InputError(f"config.data.bad_frames is {config.data.bad_frames!r}; it is one of {', '.join(BAD_FRAMES)}")
    if config.seed < 0:
        raise InputError(f"seed is {config.seed}; it must not be negative")
    if not 0 <= config.model.get("dropout", 0.0) < 1:
        raise InputError(f"config.model.dropout is {config.model.dropout}; it must be at least 0 and below 1")
    if not config.phase_order:
        raise InputError("phase_order is empty; name at least one phase")
    for name in config.phase_order:
        if name not in config.phases:
            raise InputError(f"phase_order names {name!r}, but the phases are {', '.join(config.phases)}")
        for field, value in field_names(config.phases[name].augment).items():
            if not 0 <= value <= 1:
                raise InputError(f"config.phases.{name}.augment.{field} is {value}; it is a probability")


def check_patterns(phase: ConfigDict, parameters: Iterable[str]) -> None:
    """Raise `InputError` for a pattern of a phase that matches none of the names of the model's parameters."""
    names = list(parameters)
    given = [("train", pattern) for pattern in phase.train]
    given += [("lr_multipliers", pattern) for pattern, _ in phase.lr_multipliers]
    for field, pattern in given:
        if not matching(names, [pattern]):
            raise InputError(f"{field} names {pattern!r}, which matches no parameter of this model")


@contextlib.contextmanager
def of_phase(name: str) -> Iterator[None]:
    """Puts the name of the phase before what an `InputError` of the block says."""
    try:
        yield
    except InputError as error:
        raise InputError(f"phase {name}: {error}") from error
