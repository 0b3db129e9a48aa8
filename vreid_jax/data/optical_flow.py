"""Dense optical flow between neighbouring frames, as bytes: how far what is seen has moved, in x and in y."""

# OpenCV and NumPy leave the type of some results unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import contextlib
import itertools
import threading
from collections.abc import Callable, Generator
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

BOUND = 20.0
"""Displacements are clipped to ± so many pixels."""
STILL = 128
"""The byte of no displacement; 1 is the bound to the left or up, 255 to the right or down."""
_STEPS = 127  # on either side of STILL

_lock = threading.Lock()
_computing = 0
_threads_before = 0


def flow_fields(frames: UInt8[np.ndarray, "T H W 3"], method: str = "dis") -> UInt8[np.ndarray, "F H W 2"]:
    """Return the flow from each frame to the next, `[max(T - 1, 1), H, W, 2]` bytes: x to the right, then y down.

    A single frame has one field, without motion, and so have frames that are too small for DIS. The same frames give the
    same bytes, on any number of cores.

    Args:
      frames: uint8 RGB.
      method: one of `FLOW_METHODS`: `dis`, OpenCV's Dense Inverse Search at its medium preset (Kroeger et al. 2016), or
        `farneback`.
    """
    fields = np.full((max(len(frames) - 1, 1), *frames.shape[1:3], 2), STILL, np.uint8)
    if method == "dis" and not _dis_takes(*frames.shape[1:3]):
        return fields
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    with _one_thread():
        compute = _method(method)
        for number, (before, after) in enumerate(itertools.pairwise(grey)):
            fields[number] = to_bytes(compute(before, after))
    return fields


def _dis_takes(height: int, width: int) -> bool:
    """Tell whether DIS can be given pictures of this size, whose patches are 8 pixels wide.

    It raises an error for smaller ones. It halves what is 40 pixels wide at least, whatever its height, and reads beyond
    the lower border where fewer than 8 rows are left then, which ends the process.
    """
    return max(height, width) >= 12 and min(height, width) >= 8 and (height >= 16 or width < 40)


def to_bytes(flow: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Return displacements in pixels as bytes from 1 to 255, rounded to 20/127 of a pixel."""
    return (np.clip(np.rint(flow * (_STEPS / BOUND)), -_STEPS, _STEPS) + STILL).astype(np.uint8)


def to_pixels(fields: UInt8[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the displacements in pixels, float32, that the bytes stand for."""
    return (fields.astype(np.float32) - STILL) * np.float32(BOUND / _STEPS)


def _method(name: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the function of two grey pictures that computes the flow from one to the other, in pixels."""
    opencv: Any = cv2
    if name == "dis":
        search = opencv.DISOpticalFlow.create(opencv.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return lambda before, after: search.calc(before, after, None)
    # Of OpenCV's example: 3 levels of half the size each, a window of 15 pixels, 3 iterations, polynomials over 5 pixels.
    return lambda before, after: opencv.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)


@contextlib.contextmanager
def _one_thread() -> Generator[None, None, None]:
    """Keep OpenCV to one thread: how DIS cuts a picture into parts, and so its result, may follow their number.

    The setting is the process's. The last of several callers at once puts it back.
    """
    global _computing, _threads_before
    with _lock:
        if not _computing:
            _threads_before = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _computing += 1
    try:
        yield
    finally:
        with _lock:
            _computing -= 1
            if not _computing:
                cv2.setNumThreads(_threads_before)
