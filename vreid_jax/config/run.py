"""A whole configuration as a value: parsed once, before anything is built, valid from then on."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from ml_collections import ConfigDict

from vreid_jax.config.datasets import DATASETS, dataset_of
from vreid_jax.config.phases import Clip, Number, Phase
from vreid_jax.datasets.catalog import BAD_FRAMES
from vreid_jax.errors import InputError
from vreid_jax.settings import AT_LEAST_ONE, BELOW_ONE, NOT_NEGATIVE, Group, Rule, Settings, one_of

BASELINES = ("untrained", "color_histogram")


@dataclasses.dataclass(frozen=True)
class Data(Settings):
    """Where frames come from and what size they have."""

    name: str
    data_dir: str
    path: str
    bad_frames: Annotated[str, one_of(BAD_FRAMES)]
    height: Annotated[int, AT_LEAST_ONE]
    width: Annotated[int, AT_LEAST_ONE]
    num_threads: Annotated[int, AT_LEAST_ONE]
    feature_dir: str
    mean: tuple
    std: tuple
    num_workers: Annotated[int, NOT_NEGATIVE] = 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return self.height, self.width


@dataclasses.dataclass(frozen=True)
class Stream(Settings):
    """An evaluation stream: see `config.evaluation_stream`."""

    clip: Clip
    apply: Mapping[str, Any]
    average: bool


@dataclasses.dataclass(frozen=True)
class Evaluation(Settings):
    """How a run is scored: see `config.default` for the fields."""

    streams: Mapping[str, Stream]
    batch_frames: Annotated[int, AT_LEAST_ONE]
    similarity: Mapping[str, Any]
    shortlist: Annotated[int, NOT_NEGATIVE]
    metric: str
    rerank: bool
    protocols: tuple[str, ...]
    baselines: tuple[str, ...]
    selections: tuple[str, ...]
    dataset: str
    shuffle_frames: bool

    @classmethod
    def parse(cls, values: Group, where: str = "config.evaluation") -> "Evaluation":
        """Read the settings of an evaluation; see `Settings.parse`."""
        return super().parse({**values, "streams": parse_streams(values, where)}, where)

    def __post_init__(self):
        super().__post_init__()
        for name in self.baselines:
            if name not in BASELINES:
                raise InputError(f"baselines names {name!r}; they are {' and '.join(BASELINES)}")

    @property
    def suffix(self) -> str:
        """What the names of an evaluation's files end in: nothing for the ordinary one, whose files stay as they are."""
        other = f"-{self.dataset.replace('/', '_')}" if self.dataset else ""
        return other + ("-shuffled" if self.shuffle_frames else "")


def parse_streams(evaluation: Group, where: str = "config.evaluation") -> dict[str, Stream]:
    """Read the evaluation streams of `config.evaluation`, by name."""
    return {name: Stream.parse(stream, f"{where}.streams.{name}") for name, stream in evaluation["streams"].items()}


@dataclasses.dataclass(frozen=True)
class Logging(Settings):
    """What a run says while it trains."""

    every_steps: Annotated[int, AT_LEAST_ONE]
    tensorboard: bool
    progress: bool


@dataclasses.dataclass(frozen=True)
class Checkpointing(Settings):
    """How often a run is saved, 0 for not by steps or not by time, and how many checkpoints are kept."""

    every_steps: Annotated[int, NOT_NEGATIVE]
    keep: Annotated[int, AT_LEAST_ONE]
    every_minutes: Annotated[Number, NOT_NEGATIVE] = 0.0


@dataclasses.dataclass(frozen=True)
class RunSettings(Settings):
    """Everything that a configuration says of a run.

    `phases` are those that `phase_order` names, in that order; `model` is the name of the model and `model_fields` its
    fields.
    """

    system: str
    dataset: str
    split: int | str
    seed: Annotated[
        int, Rule(lambda seed: isinstance(seed, int) and 0 <= seed < 2**32, "it must be at least 0 and below 2**32")
    ]
    init_from: str
    init_patterns: tuple[str, ...]
    inflation: str
    dtype: str
    model: str
    model_fields: Mapping[str, Any]
    data: Data
    phases: Mapping[str, Phase]
    evaluation: Evaluation
    logging: Logging
    checkpoint: Checkpointing


def parse_run(config: ConfigDict) -> RunSettings:
    """Read a configuration; the first value that no run can have is an `InputError` that names it."""
    data = Data.parse(config.data, "config.data")
    evaluation = Evaluation.parse(config.evaluation)
    if dataset_of(data.name) in DATASETS.keys() - {config.dataset}:
        raise InputError(
            f"config.data.name is {data.name!r}, which does not belong to dataset {config.dataset!r}: name the dataset "
            "behind the configuration, as in --config=configs/m3d.py:mars"
        )
    fields = {key: value for key, value in config.model.items() if key != "name"}
    if not BELOW_ONE.accepts(fields.get("dropout", 0.0)):
        raise InputError(f"config.model.dropout is {fields['dropout']}; {BELOW_ONE.words}")
    values = {**config, "model": config.model.name, "data": data, "evaluation": evaluation}
    values |= {"model_fields": fields, "phases": _parse_phases(config)}
    return RunSettings.parse(values, "config")


def _parse_phases(config: ConfigDict) -> dict[str, Phase]:
    order = tuple(config.phase_order)
    if not order:
        raise InputError("phase_order is empty; name at least one phase")
    if len(set(order)) < len(order):
        raise InputError(f"phase_order names a phase twice: {', '.join(order)}")
    for name in order:
        if name not in config.phases:
            raise InputError(f"phase_order names {name!r}, but the phases are {', '.join(config.phases)}")
    return {name: Phase.parse(config.phases[name], f"config.phases.{name}") for name in order}
