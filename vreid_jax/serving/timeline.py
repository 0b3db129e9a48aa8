"""Where an identity was when: bars by camera, drawn as SVG."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

import numpy as np

from vreid_jax.search.gallery import SECONDS
from vreid_jax.serving.people import People
from vreid_jax.serving.rendering import who

WIDTH, LEFT, LANE = 720, 90, 30  # units of the drawing
_SHORTEST = 6.0  # of a bar: it has to be seen, and clicked


@dataclasses.dataclass(frozen=True)
class Bar:
    """One tracklet: its place, where it is drawn, and what it is called."""

    gallery: str
    tracklet: str
    x: float
    y: float
    width: float
    title: str


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Lanes of cameras, bars of tracklets, and ticks of time with their labels; `untimed` tracklets have no time."""

    lanes: list[tuple[float, str]]
    bars: list[Bar]
    ticks: list[tuple[float, str]]
    height: float
    untimed: int


def draw_timeline(people: People, places: Sequence[int]) -> Timeline:
    """Lay out tracklets by time of day where it is known of all, else by second of the video."""
    times = people.clock[list(places)]
    is_clock = bool(np.isfinite(times).all()) and len(places) > 0
    if not is_clock:
        times = np.stack([people.columns[name][list(places)] for name in SECONDS], 1)
    timed = np.asarray(np.isfinite(times).all(1))
    labels = [_lane(people, place) for place in places]
    lanes = sorted({label for label, known in zip(labels, timed, strict=True) if known})
    if not timed.any():
        return Timeline([], [], [], 0.0, len(places))
    first, last = float(times[timed, 0].min()), float(times[timed, 1].max())
    scale = (WIDTH - LEFT - 10) / max(last - first, 1e-9)
    bars = []
    for place, label, (start, end), known in zip(places, labels, times.tolist(), timed, strict=True):
        if known:
            x = LEFT + (start - first) * scale
            length = max(_SHORTEST, (end - start) * scale)
            y = 8.0 + LANE * lanes.index(label)
            bars.append(Bar(*people.key(place), min(x, WIDTH - length), y, length, who(people.of(place) | _NOBODY)))
    ticks = [(LEFT + (WIDTH - LEFT - 10) * share, _label(first + share * (last - first), people.zone if is_clock else None, last - first))
             for share in (0.0, 0.5, 1.0)]  # fmt: skip
    middles = [(8.0 + LANE * number + LANE / 2, label) for number, label in enumerate(lanes)]
    return Timeline(middles, bars, ticks, 8.0 + LANE * len(lanes) + 24, int((~timed).sum()))


_NOBODY = {"identity": None, "name": ""}


def _lane(people: People, place: int) -> str:
    camera = people.columns["camid"][place]
    return f"camera {camera}" if camera > 0 else "unknown"


def _label(seconds: float, zone: datetime.timezone | None, span: float) -> str:
    if zone is None:
        return f"{seconds:.0f} s"
    moment = datetime.datetime.fromtimestamp(seconds, zone)
    form = "%Y-%m-%d" if span > 3 * 86400 else "%m-%d %H:%M" if span > 86400 else "%H:%M:%S"
    return moment.strftime(f"{form} %Z")
