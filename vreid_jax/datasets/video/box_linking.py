"""Linking of detections without ids into tracks, by the overlap of boxes in neighbouring frames."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Box:
    """A box in pixels: `frame` counts from 1, `track` is an id from 1 or -1 for a detection without one."""

    frame: int
    track: int
    left: float
    top: float
    width: float
    height: float


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union of boxes [left, top, width, height], `[A, 4]` and `[B, 4]` → `[A, B]` in [0, 1]."""
    a, b = a[:, None], b[None]
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    return shared / (np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - shared)


def link(boxes: Sequence[Box], min_iou: float = 0.5, max_gap: int = 5) -> list[Box]:
    """Give detections the ids of tracks, from 1 on in order of appearance.

    Frame by frame, detections are matched one to one with the last boxes of the tracks so that the sum of overlaps is
    maximal; a detection that overlaps less than `min_iou` with its match starts a track. There is no model of motion or
    appearance, so people who cross may swap ids, and a person who is hidden for long returns under another id.

    Args:
      boxes: detections, in any order; their `track` is ignored.
      min_iou: least overlap of a box with the track it continues, in (0, 1].
      max_gap: number of consecutive frames that a track may miss.

    Returns:
      The boxes in order of frames, with their tracks.
    """
    from scipy.optimize import linear_sum_assignment

    by_frame: dict[int, list[Box]] = {}
    for box in boxes:
        by_frame.setdefault(box.frame, []).append(box)
    last: dict[int, Box] = {}
    linked, started = [], 0
    for frame in sorted(by_frame):
        last = {track: box for track, box in last.items() if frame - box.frame <= max_gap + 1}
        tracks, found = list(last), by_frame[frame]
        overlap = iou(_array([last[track] for track in tracks]), _array(found))
        overlap[overlap < min_iou] = 0
        matched = {
            d: tracks[t] for t, d in zip(*linear_sum_assignment(overlap, maximize=True), strict=True) if overlap[t, d]
        }
        for number, box in enumerate(found):
            if number not in matched:
                started += 1
            box = dataclasses.replace(box, track=matched.get(number, started))
            last[box.track] = box
            linked.append(box)
    return linked


def _array(boxes: Sequence[Box]) -> np.ndarray:
    return np.array([(b.left, b.top, b.width, b.height) for b in boxes], np.float64).reshape(-1, 4)
