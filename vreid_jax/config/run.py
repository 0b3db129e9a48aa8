"""A whole configuration as a value: parsed once, before anything is built, valid from then on."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from ml_collections import ConfigDict

from vreid_jax.config.datasets import DATASETS, dataset_of
from vreid_jax.config.inputs import FLOW_METHODS
from vreid_jax.config.phases import Clip, Phase
from vreid_jax.datasets.catalog import BAD_FRAMES
from vreid_jax.errors import InputError
from vreid_jax.settings import (
    AT_LEAST_ONE,
    BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    FilePath,
    Number,
    Pattern,
    Rule,
    Settings,
    check,
    from_to,
    group,
    one_of,
    plain,
)

BASELINES = ("untrained", "color_histogram")
EXTENT = from_to(1, 10_000)  # pixels
THREADS = from_to(1, 1024)
WORKERS = from_to(0, 1024)
BATCH_FRAMES = from_to(1, 1_000_000)
COLOUR = Rule(lambda values: len(values) in (0, 3), "it must be three numbers, for red, green and blue, or none")


@dataclasses.dataclass(frozen=True)
class Data(Settings):
    """Where frames come from and what size they have."""

    name: str
    data_dir: FilePath
    path: FilePath
    bad_frames: Annotated[str, one_of(BAD_FRAMES)]
    height: Annotated[int, EXTENT]
    width: Annotated[int, EXTENT]
    num_threads: Annotated[int, THREADS]
    feature_dir: FilePath
    mean: Annotated[tuple[Number, ...], COLOUR]
    std: Annotated[tuple[Annotated[Number, POSITIVE], ...], COLOUR]
    num_workers: Annotated[int, WORKERS] = 0
    flow: Annotated[str, one_of(FLOW_METHODS)] = "dis"
    validation: Annotated[Number, BELOW_ONE] = 0.0

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
    batch_frames: Annotated[int, BATCH_FRAMES]
    similarity: Mapping[str, Any]
    shortlist: Annotated[int, NOT_NEGATIVE]
    metric: str
    rerank: bool
    protocols: tuple[str, ...]
    baselines: tuple[str, ...]
    selections: tuple[str, ...]
    dataset: str
    shuffle_frames: bool
    headline: str = ""
    shortlist_exact: bool = False

    @classmethod
    def parse(cls, values: Any, where: str = "config.evaluation") -> "Evaluation":
        """Read the settings of an evaluation; see `Settings.parse`."""
        return super().parse(values, where)

    def __post_init__(self):
        super().__post_init__()
        if self.shortlist_exact and not self.shortlist:
            raise InputError("shortlist_exact is True; it takes a shortlist above 0, the length of the exact list")
        for name in self.baselines:
            if name not in BASELINES:
                raise InputError(f"baselines names {name!r}; they are {' and '.join(BASELINES)}")

        if self.headline and self.headline not in self.streams:
            raise InputError(
                f"headline is {self.headline!r}; it is a stream, {', '.join(self.streams)}, or empty for all"
            )

    @property
    def suffix(self) -> str:
        """What the names of an evaluation's files end in: nothing for the ordinary one, whose files stay as they are."""
        other = f"-{self.dataset.replace('/', '_')}" if self.dataset else ""
        return other + ("-shuffled" if self.shuffle_frames else "")


def parse_streams(evaluation: Any, where: str = "config.evaluation") -> dict[str, Stream]:
    """Read the evaluation streams of `config.evaluation`, by name."""
    streams = group(group(evaluation, where).get("streams"), f"{where}.streams")
    return {name: Stream.parse(stream, f"{where}.streams.{name}") for name, stream in streams.items()}


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

    `phases` are those that `phase_order` names, in that order; `phase_names` are of all that there are; `model` is the name of the model and `model_fields` its
    fields.
    """

    system: str
    dataset: str
    split: int | str
    seed: Annotated[int, SEED]
    init_from: FilePath
    init_patterns: tuple[Pattern, ...]
    inflation: str
    dtype: str
    model: str
    model_fields: Mapping[str, Any]
    data: Data
    phases: Mapping[str, Phase]
    evaluation: Evaluation
    logging: Logging
    checkpoint: Checkpointing
    phase_names: tuple[str, ...] = ()


def parse_run(config: ConfigDict) -> RunSettings:
    """Read a configuration; the first value that no run can have is an `InputError` that names it."""
    model = dict(group(config.get("model"), "config.model"))
    if "name" not in model:
        raise InputError("config.model has no name; it is that of a model, as in two_stream_m3d")
    phases = _parse_phases(config)
    names = tuple(group(config.get("phases"), "config.phases"))
    values = {**config, "model": model.pop("name"), "model_fields": model, "phases": phases, "phase_names": names}
    settings = RunSettings.parse(values, "config")
    if dataset_of(settings.data.name) in DATASETS.keys() - {settings.dataset}:
        raise InputError(
            f"config.data.name is {settings.data.name!r}, which does not belong to dataset {settings.dataset!r}: name "
            "the dataset behind the configuration, as in --config=configs/m3d.py:mars"
        )
    return settings


def _parse_phases(config: ConfigDict) -> dict[str, Phase]:
    order, phases = plain(config.get("phase_order")), group(config.get("phases"), "config.phases")
    check(order, tuple[str, ...], "config.phase_order")
    if not order:
        raise InputError("phase_order is empty; name at least one phase")
    if len(set(order)) < len(order):
        raise InputError(f"phase_order names a phase twice: {', '.join(order)}")
    for name in order:
        if name not in phases:
            raise InputError(f"phase_order names {name!r}, but the phases are {', '.join(phases)}")
    return {name: Phase.parse(phases[name], f"config.phases.{name}") for name in order}
