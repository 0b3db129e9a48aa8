"""The tracklets of a dataset, listed from names alone, and their numbers beside the published ones."""

import dataclasses
import re
from collections.abc import Iterable, Sequence

import numpy as np

from vreid_jax.errors import InputError

SEEDED = "seeded"  # how the source of a division begins whose halves are drawn here


@dataclasses.dataclass(frozen=True, slots=True)
class Tracklet:
    """A tracklet: identity (0 distractor, -1 junk), camera, and the paths of its frames, in order.

    Raises:
      InputError: for a number beyond int64, or a name that is not UTF-8; records can hold neither.
    """

    tracklet_id: str
    pid: int
    camid: int
    frames: tuple[str, ...]

    def __post_init__(self):
        where = self.frames[0].rpartition("/")[0]
        if max(abs(self.pid), abs(self.camid)) >= 2**63:
            raise InputError(f"{where}: the number of the person or the camera is too large: it must be below 2**63")
        if re.search("[\ud800-\udfff]", self.tracklet_id):  # bytes that are not UTF-8
            raise InputError(f"{where!r}: the name of a tracklet must be UTF-8: rename the folder")


@dataclasses.dataclass(frozen=True)
class Listing:
    """The tracklets of the three splits, and the source of the division into train and test."""

    train: list[Tracklet]
    query: list[Tracklet]
    gallery: list[Tracklet]
    split_source: str

    def splits(self) -> dict[str, list[Tracklet]]:
        """Return the three splits by name."""
        return {"train": self.train, "query": self.query, "gallery": self.gallery}


@dataclasses.dataclass(frozen=True)
class Published:
    """A published number: what is counted (a key of `count`), its allowed values, and the rule it is counted by."""

    what: str
    values: tuple[int | float, ...]
    rule: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """A counted number beside the published one; `published` is empty for a number that nobody published."""

    what: str
    found: int | float
    published: tuple[int | float, ...]
    rule: str

    @property
    def differs(self) -> bool:
        """Whether the number differs from the published one."""
        return bool(self.published) and self.found not in self.published

    def __str__(self):
        text = f"{self.what:32} {self.found:>12,}"
        if not self.published:
            return text
        published = " or ".join(f"{value:,}" for value in self.published)
        return f"{text}   DIFFERS: published is {published} ({self.rule})" if self.differs else f"{text}   as published"


def count(listing: Listing) -> dict[str, int | float]:
    """Count a listing: tracklets, identities, frames and lengths of each split, distractors and junk, by name."""
    numbers: dict[str, int | float] = {}
    for split, tracklets in listing.splits().items():
        lengths = [len(tracklet.frames) for tracklet in tracklets]
        numbers[f"{split} tracklets"] = len(tracklets)
        numbers[f"{split} identities"] = len({tracklet.pid for tracklet in tracklets if tracklet.pid > 0})
        numbers[f"{split} frames"] = sum(lengths)
        if lengths:
            numbers[f"{split} shortest tracklet"] = min(lengths)
            numbers[f"{split} mean length"] = round(float(np.mean(lengths)), 1)
            numbers[f"{split} longest tracklet"] = max(lengths)
    every = [len(tracklet.frames) for tracklets in listing.splits().values() for tracklet in tracklets]
    numbers["shortest tracklet"], numbers["longest tracklet"] = min(every), max(every)
    asked = {tracklet.pid for tracklet in listing.query}
    numbers["queried identities in gallery"] = len(asked & {tracklet.pid for tracklet in listing.gallery})
    numbers["unqueried identities in gallery"] = len({t.pid for t in listing.gallery if t.pid > 0} - asked)
    numbers["junk tracklets"] = sum(tracklet.pid == -1 for tracklet in listing.gallery)
    numbers["distractor tracklets"] = sum(tracklet.pid == 0 for tracklet in listing.gallery)
    numbers["cameras"] = len({tracklet.camid for split in listing.splits().values() for tracklet in split})
    pairs = {(tracklet.pid, tracklet.camid) for tracklet in listing.query}
    numbers["queries beyond one a camera"] = len(listing.query) - len(pairs)
    return numbers


def compare(listing: Listing, published: Sequence[Published]) -> list[Finding]:
    """Return every number of `count` beside the published one."""
    known = {entry.what: entry for entry in published}
    return [
        Finding(what, found, known[what].values if what in known else (), known[what].rule if what in known else "")
        for what, found in count(listing).items()
    ]


def unmatched(query: Iterable[Tracklet], gallery: Iterable[Tracklet]) -> Tracklet | None:
    """Return the first query whose identity is not in the gallery, or None."""
    there = {tracklet.pid for tracklet in gallery}
    return next((tracklet for tracklet in query if tracklet.pid not in there), None)
