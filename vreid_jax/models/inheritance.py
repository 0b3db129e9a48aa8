"""What comes trained from another run, and what only seems to."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from vreid_jax.config.fields import matching
from vreid_jax.errors import InputError


def never_trained(source: Mapping[str, Any], phase: str, names: Sequence[str]) -> bool:
    """Tell whether a run, as far as it is known, neither began a phase nor had the phase's variables from another run.

    Args:
      source: the configuration of the run: see `registry.check_run`.
      phase: which trains the variables.
      names: of the variables, `params/vlad/centres`.
    """
    order, patterns, known = source.get("phase_order"), source.get("init_patterns", (".*",)), source.get("inherited")
    if known is None:  # what its start was is not known, as of a run that has not begun
        inherited = source.get("init_from") and matching([name.partition("/")[2] for name in names], patterns)
    else:
        inherited = any(f"{name}/".startswith(f"{each}/") for each in known for name in names)
    return order is not None and phase not in order and not inherited


def begun(source: Mapping[str, Any], place: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a run that came to a place, with what is known of it there.

    Of one that was stopped before its last phase, the later ones are left out of its `phase_order`, and `inherited` are the
    names, or how they begin, of the variables that came trained from another run.

    Args:
      source: the configuration.
      place: of its newest checkpoint, a stored `Position`, or the metadata of its file; empty where it has none.
    """
    told, order = dict(source), list(source.get("phase_order", ()))
    if (phase := place.get("phase")) in order[:-1]:
        told["phase_order"] = order[: order.index(phase) + 1]
        if isinstance(inherited := inherited_at(place), list | tuple):
            told["inherited"] = list(map(str, inherited))
    return told


def inherited_at(place: Mapping[str, Any]) -> Any:
    """Return what a stored `Position` says came trained from another run; None where it says nothing."""
    return place.get("inherited", place.get("brought"))  # until version 0.1


def untrained(source: Mapping[str, Any], parts: Mapping[str, str], names: Collection[str]) -> list[str]:
    """Return the parts of a network that its run, as far as it is known, never trained.

    Args:
      source: the configuration of the run.
      parts: of the network, each with the phase that trains it: see `registry.trained_parts`.
      names: of its variables.
    """
    own = {part: _of(part, names) for part in parts}
    return [part for part, phase in parts.items() if own[part] and never_trained(source, phase, own[part])]


def not_begun(parts: Mapping[str, str], later: Collection[str], inherited: Collection[str]) -> list[str]:
    """Return the parts of a network that only later phases of a stopped run train, and that did not come trained.

    Args:
      parts: of the network, each with the phase that trains it: see `registry.trained_parts`.
      later: the phases that have not begun.
      inherited: names of the variables that came trained from another run.
    """
    return [part for part, phase in parts.items() if phase in later and not _of(part, inherited)]


def _of(part: str, names: Collection[str]) -> list[str]:
    return [name for name in names if name.startswith((f"params/{part}/", f"params/{part}_"))]


def check_streams(
    settings: Any,
    kept: Sequence[str],
    source: Mapping[str, Any],
    parts: Callable[[str | None], Collection[str]],
    foreign: Collection[str] = (),
) -> None:
    """Refuse networks that nothing trains: from a run that never did where the new one uses them, and scored as they begin.

    Args:
      settings: of the new run.
      kept: names of the variables that come trained: see `registry.check_run`.
      source: the configuration of the run that they come from.
      parts: returns the networks of a stream, or of None, each named after the phase that trains it.
      foreign: those of them whose feature weights of another project bring, too.

    Raises:
      InputError: in which the network is named.
    """
    scored = {part for stream in settings.evaluation.streams.values() for part in parts(stream.apply.get("stream"))}
    trained = {part for phase in settings.phases.values() for part in parts(phase.apply.get("stream"))}
    for part in sorted(scored | trained):
        brought = _of(part, kept)
        if brought and never_trained(source, part, brought):
            raise InputError(
                f"init_from {settings.init_from} brings {brought[0]} and others of its kind, which its run never trained: "
                f"the phase {part!r} is not in its phase_order, or it was stopped before; set init_patterns to what it "
                f"trained, as {tuple(f'{name}/.*' for name in source['phase_order'])}"
            )
        from_elsewhere = brought or (settings.init_from and not kept and part in foreign)
        if part in scored and part in settings.phase_names and part not in settings.phases and not from_elsewhere:
            raise InputError(
                f"the evaluation would score the part {part!r} of the network untrained, for phase_order lacks the phase "
                f"{part!r}: add it, have the part from another run with init_from, or leave it out of the evaluation "
                "(m3d.py: streams=NAME behind the dataset)"
            )
