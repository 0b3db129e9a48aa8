"""The ten divisions of a two-camera dataset: which persons train and which test."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import SEEDED, Listing, Tracklet
from vreid_jax.datasets.manual.matlab import read_table
from vreid_jax.errors import InputError

NUM_SPLITS = 10


@dataclasses.dataclass
class SplitConfig(tfds.core.BuilderConfig):
    """One of the ten divisions."""

    number: int = 0


def configs() -> list[SplitConfig]:
    """Return the TFDS configs `split_0` to `split_9`."""
    return [
        SplitConfig(name=f"split_{number}", number=number, description=f"Division {number} of ten.")
        for number in range(NUM_SPLITS)
    ]


def number_of(builder: tfds.core.DatasetBuilder) -> int:
    """Return the number of the division that a builder was made for."""
    config = builder.builder_config
    assert isinstance(config, SplitConfig)  # its BUILDER_CONFIGS are `configs()`
    return config.number


@dataclasses.dataclass(frozen=True)
class Division:
    """The persons of the two halves, and the source of the division."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    source: str


def seeded(persons: Sequence[str], number: int, missing: str) -> Division:
    """Draw division `number` at random, always the same for the same persons, because the file `missing` is missing."""
    order = np.random.default_rng((2014, number)).permutation(len(persons))
    test = set(order[: len(persons) // 2].tolist())
    return Division(
        tuple(person for i, person in enumerate(persons) if i not in test),
        tuple(person for i, person in enumerate(persons) if i in test),
        f"{SEEDED}: {missing} is missing, so these halves are not those of published results",
    )


def from_table(files: ManualFiles, path: str, persons: Sequence[str], number: int) -> Division:
    """Read division `number` from a MATLAB file's `ls_set`, whose rows are numbers (from 1) of `persons`, first half test.

    Raises:
      InputError: the table does not fit the persons.
    """
    table = read_table(files, path, "ls_set")
    where = f"{files.where(path)}, ls_set"
    if table.shape != (NUM_SPLITS, len(persons)):
        raise InputError(
            f"{where}: a table {list(table.shape)} does not fit {len(persons)} persons in both cameras; it must be "
            f"[{NUM_SPLITS}, {len(persons)}]"
        )
    row = table[number]
    if not np.array_equal(np.sort(row), np.arange(1, len(persons) + 1)):
        raise InputError(f"{where}, row {number + 1}: must have every number from 1 to {len(persons)} once")
    half = len(persons) // 2
    test, train = (tuple(persons[int(i) - 1] for i in sorted(part)) for part in (row[:half], row[half:]))
    return Division(train, test, f"official: {path.rpartition('/')[2]}")


def listing(division: Division, cameras: Mapping[int, Mapping[str, Tracklet]]) -> Listing:
    """List train from both cameras, query from the first, gallery from the second; `cameras` is camera → its tracklets."""
    (_, first), (_, second) = sorted(cameras.items())
    return Listing(
        [camera[person] for person in division.train for camera in (first, second)],
        [first[person] for person in division.test],
        [second[person] for person in division.test],
        division.source,
    )
