"""How every reader goes through a video: at which rate, and what the number of a frame is where some cannot be read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

_PLAUSIBLE_FPS = 240.0  # a faster one is rather the clock of the file: WebM from a browser states 1000
_MOST_FPS = 1000.0
_MEASURED = 200  # frames
_MOST_MISSED = 100  # frames in a row; behind more the rest is taken for lost
_FEW_FRAMES, _FEW_SECONDS = 2, 0.5  # by which the stated length of a whole video may be off


@runtime_checkable
class Reader(Protocol):
    """What is needed of OpenCV's `VideoCapture`."""

    def read(self) -> tuple[bool, np.ndarray | None]:
        """Return whether there is another frame, and the frame."""
        ...

    def grab(self) -> bool:
        """Go one frame on."""
        ...

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        """Return whether the frame that was gone to can be decoded, and the frame."""
        ...

    def get(self, propId: int) -> float:
        """Return a property."""
        ...


def frame_rate(reader: Reader, source: str) -> float:
    """Return the frames per second of a video file, 0 if neither the file nor the timestamps of its frames tell.

    Args:
      reader: an open one; it stays where it is.
      source: what it was opened with.
    """
    stated = float(reader.get(cv2.CAP_PROP_FPS) or 0.0)
    return stated if 0 < stated <= _PLAUSIBLE_FPS else _measured_rate(source)


def _measured_rate(source: str) -> float:
    """Return the mean rate of the first frames by their timestamps, to two decimals as a file states it."""
    reader = cv2.VideoCapture(source)
    try:
        seconds = [reader.get(cv2.CAP_PROP_POS_MSEC) / 1000 for _ in range(_MEASURED) if reader.grab()]
    finally:
        reader.release()
    if len(seconds) < 2 or not rising(seconds):
        return 0.0
    rate = round((len(seconds) - 1) / (seconds[-1] - seconds[0]), 2)
    return rate if 0 < rate <= _MOST_FPS else 0.0


def rising(seconds: Sequence[float] | np.ndarray) -> bool:
    """Return whether timestamps, of two frames or more, can be those of a video: they never fall, and most of them rise."""
    steps = np.diff(seconds)
    return bool(steps.size and np.isfinite(steps).all() and (steps >= 0).all() and np.median(steps) > 0)


def changed_times(timestamps: Mapping[int, float], rate: float) -> dict[int, float]:
    """Return the second of each frame since the first one where timestamps tell another than its number does.

    Args:
      timestamps: seconds by the numbers of frames, in order, from the first one of the video.
      rate: frames per second of the video.

    Returns:
      The seconds, to milliseconds, of all these frames; of none where (number - 1) / rate is right to half a second, or the
      timestamps cannot be.
    """
    numbers, seconds = np.array(list(timestamps)), np.array(list(timestamps.values()))
    if rate <= 0 or not rising(seconds):
        return {}
    seconds -= seconds[0]
    if np.abs(seconds - (numbers - 1) / rate).max() <= _FEW_SECONDS:
        return {}
    return dict(zip(numbers.tolist(), seconds.round(3).tolist(), strict=True))


def frame_count(reader: Reader, rate: float) -> int:
    """Return how many frames a video file states, 0 if it states none.

    Args:
      reader: an open one.
      rate: that of `frame_rate`. OpenCV makes the count out of duration and stated rate where a file has none.
    """
    count, stated = float(reader.get(cv2.CAP_PROP_FRAME_COUNT)), float(reader.get(cv2.CAP_PROP_FPS) or 0.0)
    if rate > 0 and stated > 0:
        count *= rate / stated
    return round(count) if 0 < count < 1e12 else 0


class Frames:
    """The frames of a file behind its first one, which is read already: an iterator of their numbers, from 2.

    A frame that cannot be read has a number, which does not come, as long as the file states that there are more. The picture
    of the number that came last is `reader.retrieve()`.

    Attributes:
      number: that of the last frame that could be read.
      read: how many could be read, the first one included.
      seconds: timestamp of the last frame that could be read.
    """

    def __init__(self, reader: Reader, stated: int):
        self._reader, self._stated = reader, stated
        self.number = self.read = 1
        self.seconds = self._now()

    def __iter__(self) -> Iterator[int]:
        missed = 0
        while missed <= _MOST_MISSED and (not missed or self.number + missed < self._stated):
            if self._reader.grab():
                self.number += missed + 1
                self.read, self.seconds, missed = self.read + 1, self._now(), 0
                yield self.number
            else:
                missed += 1

    def _now(self) -> float:
        return self._reader.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def damaged(self, rate: float) -> bool:
        """Return whether, at the end, clearly fewer frames came than the file states, whose rate this is.

        Where their timestamps reach its end none may be missing: the count of a file with a changing rate is a guess.
        """
        early = rate > 0 and (self._stated - 1) / rate - self.seconds > _FEW_SECONDS
        return self._stated - self.read > _FEW_FRAMES and (early or self.number > self.read)
