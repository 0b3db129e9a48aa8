"""Where a run stands."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a run stands, beside its state: stored in every checkpoint.

    Attributes:
      phase: the phase that is trained.
      phase_step: steps done in it.
      steps_before: steps of the earlier phases.
      seconds: of training so far.
      inherited: names of the variables that came trained from another run: see `experiment.initialisation`.
      training_set: what the run is trained on: see `data.TrackletSource.digest`.
    """

    phase: str
    phase_step: int
    steps_before: int
    seconds: float
    inherited: tuple[str, ...] = ()
    training_set: str = ""

    @property
    def step(self) -> int:
        """The number of steps of the whole run."""
        return self.steps_before + self.phase_step

    def after_step(self, seconds: float) -> "Position":
        """Return the position one step later, which took `seconds`."""
        return dataclasses.replace(self, phase_step=self.phase_step + 1, seconds=self.seconds + seconds)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Position":
        """Return the position that a checkpoint holds.

        Raises:
          TypeError: where it says more, less or something else than a position of this version does.
        """
        if not isinstance(stored, Mapping):
            raise TypeError(f"a position is not {type(stored).__name__}")
        stored = dict(stored)
        stored.pop("iterator", None)  # of the data, until version 0.1: now batch i follows from i alone
        inherited = stored.pop("brought", stored.pop("inherited", ()))  # `brought` until version 0.1
        if not isinstance(inherited, list | tuple):
            raise TypeError(f"inherited is {inherited!r}")
        position = cls(**stored, inherited=tuple(inherited))
        for field in dataclasses.fields(cls):
            value = getattr(position, field.name)
            allowed = (int, float) if field.type is float else field.type
            if field.name != "inherited" and (not isinstance(value, allowed) or isinstance(value, bool)):
                raise TypeError(f"{field.name} is {value!r}")
        return position
