"""Checks of a configuration against the model it trains, and the phase that an error is of."""

import contextlib
from collections.abc import Iterable, Iterator

from vreid_jax.config.fields import matching
from vreid_jax.config.phases import Phase
from vreid_jax.errors import InputError


def check_patterns(phase: Phase, parameters: Iterable[str]) -> None:
    """Raise `InputError` for a pattern of a phase that matches none of the names of the model's parameters."""
    names = list(parameters)
    given = [("train", pattern) for pattern in phase.train]
    given += [("lr_multipliers", pattern) for pattern, _ in phase.lr_multipliers]
    given += [("optimizer.no_decay", pattern) for pattern in phase.optimizer.no_decay]
    for field, pattern in given:
        if not matching(names, [pattern]):
            raise InputError(f"{field} names {pattern!r}, which matches no parameter of this model")


@contextlib.contextmanager
def error_context(phase: str) -> Iterator[None]:
    """Put the name of a phase before what an `InputError` of the block says."""
    try:
        yield
    except InputError as error:
        raise InputError(f"phase {phase}: {error}") from error
