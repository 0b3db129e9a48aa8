"""The settings of an adaptation."""

import dataclasses
from typing import Annotated

from vreid_jax.config import phase
from vreid_jax.config.phases import Augmentation, Clip, Phase
from vreid_jax.errors import InputError
from vreid_jax.settings import (
    AT_LEAST_ONE,
    BELOW_ONE,
    FROM_0_TO_1,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Number,
    Rule,
    Settings,
    at_least,
)

SHARE = Rule(lambda x: 0 < x <= 0.5, "it is a share above 0 and at most 0.5")

AUGMENTATION = Augmentation(
    flip=0.5,
    enlarge_crop=0.5,
    color_jitter=0.5,
    gamma=0.3,
    white_balance=0.5,
    low_resolution=0.2,
    blur=0.2,
    erase=0.3,
    erase_most=0.25,
)


@dataclasses.dataclass(frozen=True)
class AdaptationSettings(Settings):
    """How a model is adapted.

    Attributes:
      seed: of everything that is drawn.
      rounds: of training; before each of them the links between tracks are estimated anew.
      steps: in a round.
      tracks_per_batch: tracks in a batch, two clips of each.
      pieces: into which a track is cut in time, at most `least_frames`; the two clips are of different ones.
      learning_rate: of AdamW.
      weight_decay: likewise.
      average: decay of the average of the weights, which is what is scored and kept; 0 for none.
      temperature: τ of the contrastive loss.
      synthetic_weight: weight of the loss of the synthetic people.
      held_back: share of the tracks that are not trained on, but scored; four at least.
      false_links: share of the pairs known to be two people that would be linked, at most.
      least_tracks: below so many tracks the footage is refused.
      least_frames: shorter tracks are left out.
      most_tracks: of more tracks, so many are drawn; at least `least_tracks`.
      least_overlap: frames in which two tracks of a camera are both seen, for them to be two people.
      augment: of the clips.
    """

    seed: Annotated[int, SEED] = 0
    rounds: Annotated[int, AT_LEAST_ONE] = 3
    steps: Annotated[int, AT_LEAST_ONE] = 40
    tracks_per_batch: Annotated[int, at_least(2)] = 16
    pieces: Annotated[int, at_least(2)] = 4
    learning_rate: Annotated[Number, POSITIVE] = 5e-4
    weight_decay: Annotated[Number, NOT_NEGATIVE] = 0.01
    average: Annotated[Number, BELOW_ONE] = 0.95
    temperature: Annotated[Number, POSITIVE] = 0.1
    synthetic_weight: Annotated[Number, NOT_NEGATIVE] = 1.0
    held_back: Annotated[Number, SHARE] = 0.2
    false_links: Annotated[Number, FROM_0_TO_1] = 0.02
    least_tracks: Annotated[int, at_least(6)] = 12
    least_frames: Annotated[int, at_least(2)] = 8
    most_tracks: Annotated[int, AT_LEAST_ONE] = 1000
    least_overlap: Annotated[int, AT_LEAST_ONE] = 3
    augment: Augmentation = AUGMENTATION

    def __post_init__(self):
        super().__post_init__()
        if self.pieces > self.least_frames:
            raise InputError(f"pieces is {self.pieces}; it must not be above least_frames = {self.least_frames}")
        if self.most_tracks < self.least_tracks:
            raise InputError(
                f"most_tracks is {self.most_tracks}; it must not be below least_tracks = {self.least_tracks}"
            )

    def phase(self, clip: Clip, batch_size: int, *, augmented: bool = True) -> Phase:
        """Return the phase of batches of so many clips, as `data.train_batches` and `make_optimizer` read it."""
        fields = phase(
            sampler="identity",
            batch_size=batch_size,
            identities_per_batch=batch_size // 2,
            clip=dataclasses.asdict(clip),
            augment=dataclasses.asdict(self.augment if augmented else Augmentation()),
            losses={
                "softmax": {"weight": 0.0},
                "contrastive": {"weight": 1.0, "temperature": float(self.temperature)},
            },
            optimizer={
                "name": "adamw",
                "learning_rate": float(self.learning_rate),
                "weight_decay": float(self.weight_decay),
                "ema": float(self.average),
            },
            schedule={"name": "cosine", "final_factor": 0.1, "warmup_steps": self.steps // 2},
            total_steps=self.rounds * self.steps,
        )
        return Phase.parse(fields, "adaptation")
