"""The tracklets of several galleries as one table that can be browsed, filtered and searched."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval.resident import ResidentGallery
from vreid_jax.search.address import given_gallery
from vreid_jax.search.calibration import read_calibration
from vreid_jax.search.gallery import SECONDS, Gallery, last_part, open_gallery
from vreid_jax.search.ranked import Decision, decision, undecided
from vreid_jax.search.recording import zone_of
from vreid_jax.serving.refusal import Refusal

USUAL_RATE = 0.01  # false accepts
SHOWN = ("tracklet_id", "split", "pid", "camid", "num_frames", "first_frame", "last_frame")


@dataclasses.dataclass(frozen=True)
class Filters:
    """Which tracklets to show or to find; what is None or empty does not restrict.

    Attributes:
      gallery: name of one gallery.
      camera: number of one camera.
      after: tracklets that end at or after this: seconds of the video, or seconds since 1970 where `clock` is set.
      before: tracklets that begin at or before this, likewise.
      clock: whether `after` and `before` are times of day rather than of the video.
    """

    gallery: str = ""
    camera: int | None = None
    after: float | None = None
    before: float | None = None
    clock: bool = False


class People:
    """N tracklets of galleries of one model; a tracklet is named by its gallery's file name and its `tracklet_id`.

    Attributes:
      galleries: each gallery by the name of its file.
      paths: of the files, likewise.
      gallery: `[N]` number of the gallery of each tracklet.
      row: `[N]` its row in that gallery.
      vectors: `[N, D]` float32.
      columns: `[N]` of each column that the galleries have, but the folders.
      clock: `[N, 2]` seconds since 1970 of the first and last frame, NaN where the recording's time is not known.
      zone: in which these are shown, wherever the server stands.
      resident: the vectors on the device; None where there are no tracklets.
    """

    def __init__(self, galleries: Mapping[str, Gallery], paths: Mapping[str, Path | str]):
        self.galleries, self.paths = dict(galleries), dict(paths)
        tables = list(self.galleries.values())
        self.gallery = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        self.row = np.concatenate([np.arange(len(table)) for table in tables] or [np.zeros(0, int)])
        self.columns = {
            name: np.concatenate([table.columns[name] for table in tables] or [np.zeros(0)])
            for name in (*SHOWN, *SECONDS)
        }
        self.vectors = np.concatenate([table.vectors for table in tables] or [np.zeros((0, 1), np.float32)])
        self.clock = np.concatenate([_clock(table) for table in tables] or [np.zeros((0, 2))])
        self.zone = zone_of(table.about.get("recorded_at") for table in tables)
        self.resident = ResidentGallery(self.vectors, tables[0].about["metric"]) if tables else None
        self._names = list(self.galleries)
        self._place = {
            (self._names[number], name): place
            for place, (number, name) in enumerate(
                zip(self.gallery.tolist(), self.columns["tracklet_id"].tolist(), strict=True)
            )
        }

    def __len__(self) -> int:
        return len(self.row)

    @property
    def about(self) -> Mapping[str, Any]:
        """Metadata of the first gallery: model, fingerprint and metric are those of all."""
        return next(iter(self.galleries.values())).about

    @property
    def cameras(self) -> list[int]:
        """The numbers of the cameras, 0 where some are unknown."""
        return np.unique(self.columns["camid"]).tolist()

    @property
    def has_clock(self) -> bool:
        """Whether the time of day of any tracklet is known."""
        return bool(np.isfinite(self.clock).any())

    def place(self, gallery: str, tracklet: str) -> int:
        """Return the place of a tracklet; `Refusal` where there is none of that name."""
        found = self._place.get((gallery, tracklet))
        if found is None:
            raise Refusal(404, "There is no such tracklet in the galleries that are served.")
        return found

    def has(self, gallery: str, tracklet: str) -> bool:
        """Return whether there is a tracklet of that name."""
        return (gallery, tracklet) in self._place

    def key(self, place: int) -> tuple[str, str]:
        """Return the names of a tracklet: of its gallery, and its own."""
        return self._names[self.gallery[place]], self.columns["tracklet_id"][place].item()

    def of(self, place: int) -> dict[str, Any]:
        """Return what is told about a tracklet: names and numbers, None where one is not known."""
        columns = {name: values[place].item() for name, values in self.columns.items()}
        begins, ends = (_iso(seconds, self.zone) for seconds in self.clock[place].tolist())
        return {
            "gallery": self.key(place)[0],
            "tracklet": columns["tracklet_id"],
            "camera": columns["camid"] if columns["camid"] > 0 else None,
            "person": columns["pid"] if columns["pid"] > 0 else None,
            "split": columns["split"],
            "frames": columns["num_frames"],
            "first_frame": columns["first_frame"] if columns["first_frame"] >= 0 else None,
            "last_frame": columns["last_frame"] if columns["last_frame"] >= 0 else None,
            **{name: None if math.isnan(columns[name]) else columns[name] for name in SECONDS},
            "begins": begins,
            "ends": ends,
        }

    def hidden(self, filters: Filters) -> np.ndarray:
        """Return `[N]` booleans: the tracklets that filters leave out. A time leaves out what has no known time."""
        hidden = np.zeros(len(self), bool)
        if filters.gallery:
            if filters.gallery not in self.galleries:
                raise Refusal(404, "There is no gallery of that name.")
            hidden |= self.gallery != self._names.index(filters.gallery)
        if filters.camera is not None:
            hidden |= self.columns["camid"] != filters.camera
        times = self.clock.T if filters.clock else [self.columns[name] for name in SECONDS]
        with np.errstate(invalid="ignore"):
            if filters.after is not None:
                hidden |= ~(times[1] >= filters.after)
            if filters.before is not None:
                hidden |= ~(times[0] <= filters.before)
        return hidden

    def at_once(self, place: int, others: np.ndarray) -> np.ndarray:
        """Return for each of `others` whether it was seen at the same time as `place` in the same gallery."""
        start, end = (self.columns[name] for name in SECONDS)
        with np.errstate(invalid="ignore"):
            overlap = (start[place] <= end[others]) & (start[others] <= end[place])
        overlap &= self.gallery[others] == self.gallery[place]
        inputs = self.galleries[self.key(place)[0]].columns.get("input")
        if inputs is not None and overlap.any():  # of a folder, in which only those of one video say anything
            overlap[overlap] = inputs[self.row[others[overlap]]] == inputs[self.row[place]]
        return overlap

    def rule(self, place: int | None, false_accept_rate: float | None) -> Decision | None:
        """Return the threshold that decides on all that a query finds, in whichever gallery, or None.

        Args:
          place: of the query, whose gallery's threshold it is; None for who is in no gallery: the smallest of those of the
            galleries, or None where one has none.
          false_accept_rate: as for `ranked.decision`; None: `USUAL_RATE`, or where that was not measured the smallest that
            was.

        Raises:
          Refusal: when the rate that was asked for is below all that were measured.
        """
        rules = [_rule(about, false_accept_rate) for about in self._abouts(place)]
        known = [rule for rule in rules if rule is not None]
        return min(known, key=lambda rule: rule.threshold) if len(known) == len(rules) else None

    def undecided(self, place: int | None = None) -> str:
        """Return why nothing is decided for a query, as in `rule`; empty where something is."""
        for about in self._abouts(place):
            if why := undecided({**about, "measured_on": last_part(about.get("measured_on"))}):
                return why
        return ""

    def _abouts(self, place: int | None) -> list[Mapping[str, Any]]:
        """Return the metadata of the gallery that a tracklet is in, or of all."""
        tables = self.galleries.values() if place is None else [self.galleries[self.key(place)[0]]]
        return [table.about for table in tables]


def open_people(paths: Sequence[str | Path]) -> People:
    """Open galleries that are served together.

    Raises:
      InputError: when one cannot be opened, two have the same file name, or are of different models or distances.
    """
    galleries: dict[str, Gallery] = {}
    places: dict[str, Path | str] = {}
    for given in paths:
        path = given_gallery(given)
        name = Path(path).name
        if name in galleries:
            raise InputError(f"two galleries are called {name}: rename one of them, since pages name them so")
        opened = open_gallery(path)
        first = next(iter(galleries.values()), opened)
        if opened.about["fingerprint"] != first.about["fingerprint"]:
            raise InputError(
                f"{next(iter(places.values()))} was made by {_model(first)} and {path} by {_model(opened)}: vectors of "
                "different models cannot be compared; serve them apart, or embed one again"
            )
        if opened.about["metric"] != first.about["metric"]:
            raise InputError(f"{path} is searched by the {opened.about['metric']} distance, the others are not")
        names, counts = np.unique(opened.columns["tracklet_id"], return_counts=True)
        if (counts > 1).any():
            raise InputError(f"{path} has several tracklets called {names[counts > 1][0]}: embed its input again")
        galleries[name], places[name] = opened, path
    return People(galleries, places)


def _model(gallery: Gallery) -> str:
    return f"{gallery.about['model']} {gallery.about['fingerprint']}"


def _rule(about: Mapping[str, Any], false_accept_rate: float | None) -> Decision | None:
    try:
        return decision(about, USUAL_RATE if false_accept_rate is None else false_accept_rate)
    except InputError as error:
        smallest = _smallest_rate(about)
        if false_accept_rate is None and smallest is not None:
            return decision(about, smallest)
        raise Refusal(400, f"{str(error)[:1].upper()}{str(error)[1:]}.") from error


def _smallest_rate(about: Mapping[str, Any]) -> float | None:
    """Return the smallest false-accept rate that a gallery has a threshold for."""
    own = read_calibration(about)
    if own is not None and own.metric == about["metric"]:
        return own.false_accept_rate[0]
    measured = about.get("open_set") or {}
    if measured.get("metric", about["metric"]) != about["metric"]:
        return None
    pairs = zip(measured.get("false_accept_rate", ()), measured.get("threshold", ()), strict=True)
    return min((rate for rate, threshold in pairs if threshold is not None), default=None)


def _clock(table: Gallery) -> np.ndarray:
    """Return `[N, 2]` seconds since 1970 of the first and last frame; NaN where they are not known."""
    start = recorded_at(table.about)
    times = np.stack([table.columns[name] for name in SECONDS], 1).astype(float)
    return np.full_like(times, np.nan) if start is None else start.timestamp() + times


def recorded_at(about: Mapping[str, Any]) -> datetime.datetime | None:
    """Return when the recording of a gallery began, or None where its metadata do not say; without a zone: UTC."""
    stated = about.get("recorded_at")
    try:
        moment = datetime.datetime.fromisoformat(stated) if isinstance(stated, str) else None
    except ValueError:
        return None
    return moment.replace(tzinfo=datetime.UTC) if moment and moment.tzinfo is None else moment


def _iso(seconds: float, zone: datetime.timezone) -> str | None:
    if math.isnan(seconds):
        return None
    return datetime.datetime.fromtimestamp(seconds, zone).isoformat(timespec="seconds")
