"""Where a run stands."""

import dataclasses
from typing import Any


@dataclasses.dataclass
class Position:
    """Where a run stands, beside its state: stored in every checkpoint."""

    phase: str
    phase_step: int
    steps_before: int  # of the earlier phases
    seconds: float  # of training so far
    iterator: Any  # state of the data iterator
    inherited: list[str] = dataclasses.field(default_factory=list)  # variables from another run: see `initialisation`
    training_set: str = ""  # what it is trained on: see `data.digest`

    @property
    def step(self) -> int:
        """The number of steps of the whole run."""
        return self.steps_before + self.phase_step
