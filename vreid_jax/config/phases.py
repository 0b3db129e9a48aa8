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
    FROM_0_TO_1,
    LARGEST,
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    SCALE,
    Number,
    Pattern,
    Rule,
    Settings,
    from_to,
    group,
)

JPEG_QUALITY = Rule(lambda x: 1 <= x <= 95, "it is a number from 1 to 95")
FRAMES = from_to(1, 10_000)  # a clip is held in memory, and so are the positions of its frames
MOST_FRAMES = 100_000


@dataclasses.dataclass(frozen=True)
class Clip(Settings):
    """How clips are cut from a tracklet: see `data.sample_clip` in training, `data.split_clips` in evaluation."""

    kind: str
    length: Annotated[int, FRAMES]
    stride: Annotated[int, FRAMES]
    num_clips: int
    corrupt: Annotated[int, NOT_NEGATIVE]
    short: str = "stride"

    def __post_init__(self):
        super().__post_init__()
        if self.num_frames > MOST_FRAMES:
            raise InputError(
                f"num_clips is {self.num_clips}; with length = {self.length} it must leave at most {MOST_FRAMES:,} frames"
            )

    @property
    def num_frames(self) -> int:
        """Frames of all clips together."""
        return self.num_clips * self.length


@dataclasses.dataclass(frozen=True)
class Augmentation(Settings):
    """Probabilities and strengths of `data.augment`; a change of probability 0 is off, whatever its strength.

    Attributes:
      flip: probability of mirroring horizontally.
      enlarge_crop: probability of a crop at random from an enlargement to 9/8.
      pad_crop: probability of a crop at random from the frame with a black border, `padding` of its height wide.
      padding: see `pad_crop`.
      color_jitter: probability of factors of brightness, contrast and saturation, uniform in 1 ± that field, and of a
        turn of the hue by ± `hue` of the circle.
      brightness: see `color_jitter`.
      contrast: see `color_jitter`.
      saturation: see `color_jitter`.
      hue: see `color_jitter`.
      gamma: probability of an exponent of the grey levels, uniform in logarithm in ± `gamma_strength`.
      gamma_strength: see `gamma`.
      white_balance: probability of factors of red and blue, uniform in logarithm in ± `white_balance_strength`.
      white_balance_strength: see `white_balance`.
      low_resolution: probability of shrinking to a scale down to `low_resolution_scale` and enlarging again.
      low_resolution_scale: see `low_resolution`.
      blur: probability of a Gaussian blur with a deviation up to `blur_sigma` of the height.
      blur_sigma: see `blur`.
      noise: probability of normal noise with a deviation up to `noise_deviation` of white.
      noise_deviation: see `noise`.
      jpeg: probability of compression as JPEG with a quality from `jpeg_quality` to 95.
      jpeg_quality: see `jpeg`.
      erase: probability of filling a rectangle of `erase_least` to `erase_most` of the area with random pixels.
      erase_least: see `erase`.
      erase_most: see `erase`.
      paste: probability of pasting a person of another identity in front, over up to `paste_cover` of the width.
      paste_cover: see `paste`.
    """

    flip: Annotated[Number, PROBABILITY] = 0.0
    enlarge_crop: Annotated[Number, PROBABILITY] = 0.0
    pad_crop: Annotated[Number, PROBABILITY] = 0.0
    padding: Annotated[Number, FROM_0_TO_1] = 0.04  # 10 pixels of 256, as strong baselines have it
    color_jitter: Annotated[Number, PROBABILITY] = 0.0
    brightness: Annotated[Number, FROM_0_TO_1] = 0.2
    contrast: Annotated[Number, FROM_0_TO_1] = 0.15
    saturation: Annotated[Number, FROM_0_TO_1] = 0.1
    hue: Annotated[Number, FROM_0_TO_1] = 0.02
    gamma: Annotated[Number, PROBABILITY] = 0.0
    gamma_strength: Annotated[Number, NOT_NEGATIVE] = 0.3
    white_balance: Annotated[Number, PROBABILITY] = 0.0
    white_balance_strength: Annotated[Number, NOT_NEGATIVE] = 0.15
    low_resolution: Annotated[Number, PROBABILITY] = 0.0
    low_resolution_scale: Annotated[Number, SCALE] = 0.3
    blur: Annotated[Number, PROBABILITY] = 0.0
    blur_sigma: Annotated[Number, FROM_0_TO_1] = 0.01
    noise: Annotated[Number, PROBABILITY] = 0.0
    noise_deviation: Annotated[Number, FROM_0_TO_1] = 0.05
    jpeg: Annotated[Number, PROBABILITY] = 0.0
    jpeg_quality: Annotated[Number, JPEG_QUALITY] = 30
    erase: Annotated[Number, PROBABILITY] = 0.0
    erase_least: Annotated[Number, FROM_0_TO_1] = 0.02
    erase_most: Annotated[Number, FROM_0_TO_1] = 0.4
    paste: Annotated[Number, PROBABILITY] = 0.0
    paste_cover: Annotated[Number, FROM_0_TO_1] = 0.5

    def __post_init__(self):
        super().__post_init__()
        if self.erase_least > self.erase_most:
            raise InputError(f"erase_least is {self.erase_least}; it must not be above erase_most = {self.erase_most}")


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
    no_decay: tuple[Pattern, ...] = ()
    clip_norm: Annotated[Number, NOT_NEGATIVE] = 0.0
    ema: Annotated[Number, BELOW_ONE] = 0.0


@dataclasses.dataclass(frozen=True)
class Schedule(Settings):
    """A learning-rate schedule; positions are fractions of the phase."""

    name: str
    boundaries: tuple[Annotated[Number, FRACTION], ...]
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
    train: tuple[Pattern, ...]
    lr_multipliers: tuple[tuple[Pattern, Annotated[Number, NOT_NEGATIVE]], ...]
    total_epochs: Annotated[int, NOT_NEGATIVE]
    total_steps: Annotated[int, NOT_NEGATIVE]
    accumulation_steps: Annotated[int, AT_LEAST_ONE]

    @classmethod
    def parse(cls, values: Any, where: str = "phase") -> "Phase":
        """Read a phase from its configuration; see `Settings.parse`."""
        terms = parse_terms(group(values, where).get("losses"), f"{where}.losses")
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
        """Return the number of steps of the phase.

        Raises:
          InputError: for more than a device can count.
        """
        steps = self.total_steps or self.total_epochs * batches_per_epoch
        if steps > LARGEST:
            raise InputError(
                f"total_epochs is {self.total_epochs}, which is {steps} steps; it must be below 2**31 steps"
            )
        return steps
