"""What a data set consists of, found by its names alone, and how that compares with what is published about it."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True)
class Tracklet:
    """A tracklet: identity (0 distractor, -1 junk), camera, and the paths of its frames, in order."""

    tracklet_id: str
    pid: int
    camid: int
    frames: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Listing:
    """The tracklets of the three splits, and where the division into train and test comes from."""

    train: list[Tracklet]
    query: list[Tracklet]
    gallery: list[Tracklet]
    split_source: str

    def splits(self) -> dict[str, list[Tracklet]]:
        """The three splits by name."""
        return {"train": self.train, "query": self.query, "gallery": self.gallery}


@dataclasses.dataclass(frozen=True)
class Published:
    """A published number: what is counted (a key of `count`), the values it may have, and the rule it is counted by."""

    what: str
    values: tuple[int | float, ...]
    rule: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """A counted number, and what is published; `published` is empty for a number nobody published."""

    what: str
    found: int | float
    published: tuple[int | float, ...]
    rule: str

    @property
    def differs(self) -> bool:
        """Whether the number is published and is another one here."""
        return bool(self.published) and self.found not in self.published

    def __str__(self):
        text = f"{self.what:32} {self.found:>12,}"
        if not self.published:
            return text
        published = " or ".join(f"{value:,}" for value in self.published)
        return f"{text}   DIFFERS: published is {published} ({self.rule})" if self.differs else f"{text}   as published"


def count(listing: Listing) -> dict[str, int | float]:
    """Numbers of a listing by name: tracklets, identities, frames and lengths of each split, distractors and junk."""
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
    """Every number of `count` beside what is published."""
    known = {entry.what: entry for entry in published}
    return [
        Finding(what, found, known[what].values if what in known else (), known[what].rule if what in known else "")
        for what, found in count(listing).items()
    ]


def unmatched(query: Iterable[Tracklet], gallery: Iterable[Tracklet]) -> Tracklet | None:
    """A query whose identity the gallery does not have at all, or None."""
    there = {tracklet.pid for tracklet in gallery}
    return next((tracklet for tracklet in query if tracklet.pid not in there), None)
