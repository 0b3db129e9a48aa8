"""A phase of training as a value: parsed once from its configuration, valid from then on."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from vreid_jax.errors import InputError
from vreid_jax.losses.terms import Term, parse_terms
from vreid_jax.settings import (
    AT_LEAST_ONE,
    BELOW_ONE,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    Group,
    Rule,
    Settings,
    each,
)

Number = float | int


def _is_multiplier(pair: Any) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and NOT_NEGATIVE.accepts(pair[1])


@dataclasses.dataclass(frozen=True)
class Clip(Settings):
    """How clips are cut from a tracklet: see `data.sample_clip` in training, `data.split_clips` in evaluation."""

    kind: str
    length: Annotated[int, AT_LEAST_ONE]
    stride: Annotated[int, AT_LEAST_ONE]
    num_clips: int
    corrupt: Annotated[int, NOT_NEGATIVE]

    @property
    def num_frames(self) -> int:
        """Frames of all clips together."""
        return self.num_clips * self.length


@dataclasses.dataclass(frozen=True)
class Augmentation(Settings):
    """Probabilities of `data.augment`."""

    flip: Annotated[Number, PROBABILITY]
    enlarge_crop: Annotated[Number, PROBABILITY]


@dataclasses.dataclass(frozen=True)
class Optimizer(Settings):
    """An optimizer and its constants."""

    name: str
    learning_rate: Annotated[Number, NOT_NEGATIVE]
    momentum: Annotated[Number, BELOW_ONE]
    b1: Annotated[Number, BELOW_ONE]
    b2: Annotated[Number, BELOW_ONE]
    eps: Annotated[Number, NOT_NEGATIVE]
    weight_decay: Annotated[Number, NOT_NEGATIVE]


@dataclasses.dataclass(frozen=True)
class Schedule(Settings):
    """A learning-rate schedule; positions are fractions of the phase."""

    name: str
    boundaries: Annotated[tuple, each(FRACTION, "they are fractions of the phase, from 0 to 1")]
    factor: Annotated[Number, POSITIVE]
    start: Annotated[Number, FRACTION]
    final_factor: Annotated[Number, POSITIVE]
    warmup_steps: Annotated[int, NOT_NEGATIVE]


@dataclasses.dataclass(frozen=True)
class Phase(Settings):
    """What is sampled, what is minimised, how, and for how long: see `config.phase` for the fields.

    `losses` holds the terms that have a weight.
    """

    sampler: str
    batch_size: Annotated[int, AT_LEAST_ONE]
    identities_per_batch: Annotated[int, AT_LEAST_ONE]
    clip: Clip
    cache_features: bool
    augment: Augmentation
    apply: Mapping[str, Any]
    losses: Mapping[str, Term]
    optimizer: Optimizer
    schedule: Schedule
    train: tuple[str, ...]
    lr_multipliers: Annotated[
        tuple,
        Rule(
            lambda pairs: isinstance(pairs, tuple) and all(map(_is_multiplier, pairs)),
            "it holds pairs (pattern, factor), as in (('.*/head/.*', 10.0),)",
        ),
    ]
    total_epochs: Annotated[int, NOT_NEGATIVE]
    total_steps: Annotated[int, NOT_NEGATIVE]
    accumulation_steps: Annotated[int, AT_LEAST_ONE]

    @classmethod
    def parse(cls, values: Group, where: str = "phase") -> "Phase":
        """Read a phase from its configuration; see `Settings.parse`."""
        terms = parse_terms(values["losses"], f"{where}.losses")
        return super().parse({**values, "losses": terms}, where)

    def __post_init__(self):
        super().__post_init__()
        if bool(self.total_epochs) == bool(self.total_steps):
            raise InputError(
                f"total_epochs is {self.total_epochs} and total_steps is {self.total_steps}; "
                "a phase needs exactly one of the two, the other 0"
            )
        if self.sampler == "identity":
            self._check_identities()

    def _check_identities(self) -> None:
        """Raise `InputError` unless batches and microbatches hold whole identities, and enough of them."""
        clips, rest = divmod(self.batch_size, self.identities_per_batch)
        if rest:
            raise InputError(
                f"batch_size is {self.batch_size}; it must be a multiple of identities_per_batch = "
                f"{self.identities_per_batch}"
            )
        contrasts = any(term.contrasts for term in self.losses.values())
        if contrasts and min(clips, self.identities_per_batch) < 2:
            raise InputError(
                f"batch_size = {self.batch_size} and identities_per_batch = {self.identities_per_batch} leave a loss "
                "nothing to compare: a batch needs at least two identities, with at least two clips each"
            )
        if self.accumulation_steps == 1:
            return
        identities, rest = divmod(self.batch_size // self.accumulation_steps, clips)
        if rest or identities < 1 + contrasts:
            raise InputError(
                f"accumulation_steps = {self.accumulation_steps} leaves {identities + rest / clips:g} of "
                f"{self.identities_per_batch} identities to a microbatch; it takes whole ones"
                + (", two at least for triplets" if contrasts else "")
            )

    def length(self, batches_per_epoch: int) -> int:
        """Return the number of steps of the phase."""
        return self.total_steps or self.total_epochs * batches_per_epoch
