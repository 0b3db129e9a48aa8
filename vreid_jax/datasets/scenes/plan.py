"""The plan of a scene, before anything is drawn: where the cameras look, and the way of every person along the street.

The street runs along x, in metres; people walk between the kerbs, at |y| < 3.5, and cameras hang on the walls at y = ±10,
each of which looks at an area of its own. A person walks from area to area, stops, leaves and comes back.
"""

import dataclasses
import math

import numpy as np

from vreid_jax.errors import InputError

KERB, WALL = 3.5, 10.0  # metres from the middle of the street
_APART, _OVERLAPPING = 17.0, 6.0  # metres between the middles of neighbouring areas
_MOST = {"cameras": 64, "people": 1000, "seconds": 3600, "width": 3840, "height": 2160, "fps": 60}
_FEWEST = {"cameras": 1, "people": 1, "seconds": 1, "width": 160, "height": 90, "fps": 5}
_WAY, _START = 301, 302  # numbers of random generators


@dataclasses.dataclass(frozen=True)
class SceneSettings:
    """What is drawn; its construction is the check.

    Attributes:
      cameras: number of cameras.
      people: number of people, all of whom are somewhere on the street all the time.
      seconds: length of each video.
      width: of the videos, pixels.
      height: of the videos, pixels.
      fps: frames per second.
      apart: whether no two cameras see the same place; else cameras 1 and 2 do, 3 and 4, and so on.
      seed: what everything else is drawn from.
    """

    cameras: int = 3
    people: int = 12
    seconds: int = 40
    width: int = 640
    height: int = 360
    fps: int = 10
    apart: bool = False
    seed: int = 0

    def __post_init__(self):
        """Raise `InputError` if a field is out of its range."""
        for name, least in _FEWEST.items():
            if not least <= getattr(self, name) <= _MOST[name]:
                raise InputError(f"--{name}={getattr(self, name)} must be from {least} to {_MOST[name]}")
        if self.width % 2 or self.height % 2:
            raise InputError(
                f"--width={self.width} and --height={self.height} must be even: videos halve their colours"
            )
        if self.seed < 0:
            raise InputError(f"--seed={self.seed} must not be negative")

    @property
    def frames(self) -> int:
        """Frames of each video."""
        return self.seconds * self.fps


def areas(settings: SceneSettings) -> list[float]:
    """Return x of the middle of what each camera looks at, metres."""
    places = [0.0]
    for camera in range(1, settings.cameras):
        overlaps = not settings.apart and camera % 2
        places.append(places[-1] + (_OVERLAPPING if overlaps else _APART))
    return places


@dataclasses.dataclass(frozen=True, eq=False)
class Way:
    """Where a person is in each of T frames.

    Attributes:
      place: `[T, 2]` x and y on the ground, metres.
      heading: `[T]` direction of walking, radians from the x axis towards the y axis.
      pace: `[T]` metres per second.
      walked: `[T]` metres since the first frame.
    """

    place: np.ndarray
    heading: np.ndarray
    pace: np.ndarray
    walked: np.ndarray


def way_of(settings: SceneSettings, person: int) -> Way:
    """Return the way of a person (from 1); a pure function of the arguments."""
    rng = np.random.default_rng([settings.seed, _WAY, person])
    if person > 1 and rng.random() < 0.15:  # two who walk together
        return _moved(way_of(settings, person - 1), rng.choice([-1, 1]) * rng.uniform(0.55, 0.8), settings.fps)
    times, corners = _corners(settings, rng)
    clock = np.arange(settings.frames) / settings.fps
    place = np.stack([np.interp(clock, times, corners[:, axis]) for axis in (0, 1)], -1)
    return _finished(_smooth(place, settings.fps), settings.fps)


def _corners(settings: SceneSettings, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the corners of a way, `[N, 2]`, and when each is reached, `[N]` seconds."""
    speed = rng.uniform(1.05, 1.65)
    middles = areas(settings)
    stages = [middles[0] - 10.0, *middles, middles[-1] + 10.0]  # off-stage at both ends
    at, side = int(rng.integers(len(stages))), int(rng.choice([-1, 1]))
    clock, here = 0.0, np.array([stages[at] + rng.uniform(-6, 6), rng.uniform(-KERB, KERB)])
    times, corners = [clock], [here]

    def go(x: float, y: float, wait: float = 0.0) -> None:
        nonlocal clock, here
        there = np.array([x, y])
        clock += float(np.hypot(*(there - here))) / speed
        here = there
        times.append(clock)
        corners.append(here)
        if wait:
            clock += wait
            times.append(clock)
            corners.append(here)

    while clock < settings.seconds:
        onwards = rng.random() > 0.15  # or turn round
        side = side if onwards else -side
        if not 0 <= at + side < len(stages):
            side = -side
        at += side
        if at in (0, len(stages) - 1):
            go(stages[at], rng.uniform(-KERB, KERB), rng.uniform(0.0, 2.0))
            continue
        for _ in range(1 + (rng.random() < 0.4)):
            stops = rng.random() < 0.2
            go(stages[at] + rng.uniform(-3, 3), rng.uniform(-KERB, KERB), stops * rng.uniform(1.5, 4.0))
        if rng.random() < 0.2:  # out of the picture for a moment, and back
            go(stages[at] + side * 9.0, rng.uniform(-KERB, KERB), rng.uniform(0.5, 3.0))
            go(stages[at] + rng.uniform(-3, 3), rng.uniform(-KERB, KERB))
    return np.array(times), np.array(corners)


def _smooth(place: np.ndarray, fps: int) -> np.ndarray:
    """Round the corners of a way: the mean over nine tenths of a second."""
    reach = max(1, round(0.45 * fps))
    padded = np.pad(place, ((reach, reach), (0, 0)), mode="edge")
    kernel = np.full(2 * reach + 1, 1 / (2 * reach + 1))
    return np.stack([np.convolve(padded[:, axis], kernel, mode="valid") for axis in (0, 1)], -1)


def _finished(place: np.ndarray, fps: int) -> Way:
    """Return the way through the given places."""
    step = np.diff(place, axis=0, append=place[-1:])
    step[-1] = step[-2]
    length = np.hypot(step[:, 0], step[:, 1])
    heading, last = np.empty(len(place)), 0.0
    moving = np.flatnonzero(length * fps > 0.25)
    if len(moving):
        last = math.atan2(step[moving[0], 1], step[moving[0], 0])
    for t in range(len(place)):  # who stands looks where they walked
        if length[t] * fps > 0.25:
            last = math.atan2(step[t, 1], step[t, 0])
        heading[t] = last
    return Way(place, heading, length * fps, np.cumsum(length) - length)


def _moved(way: Way, aside: float, fps: int) -> Way:
    """Return the way of somebody who walks `aside` metres beside another."""
    turn = np.stack([np.cos(way.heading), np.sin(way.heading)], -1)
    normal = np.stack([-turn[:, 1], turn[:, 0]], -1)
    return _finished(_smooth(way.place + aside * normal - 0.15 * turn, fps), fps)
