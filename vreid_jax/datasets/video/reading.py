"""What a video says of itself, and what its frames say where it says nothing or nonsense: one answer for every reader."""

import cv2
import numpy as np

_PLAUSIBLE_FPS = 240.0  # a faster one is rather the clock of the file: WebM from a browser states 1000
_MOST_FPS = 1000.0
_MEASURED = 200  # frames


def frame_rate(reader: cv2.VideoCapture, source: str) -> float:
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


def rising(seconds: list[float]) -> bool:
    """Return whether timestamps of two frames or more can be those of a video: they never fall, and most of them rise."""
    steps = np.diff(seconds)
    return bool(np.isfinite(steps).all() and (steps >= 0).all() and np.median(steps) > 0)
