"""What a detector of people is: anything from a frame to boxes and scores; and what is kept of these."""

from typing import Protocol, runtime_checkable

import numpy as np

from vreid_jax.datasets.video.box_linking import iou
from vreid_jax.errors import InputError

_SMALLEST = 4.0  # pixels of a box's height


@runtime_checkable
class Detector(Protocol):
    """Finds people."""

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes `[N, 4]` (left, top, width, height, pixels) and scores `[N]` in [0, 1].

        Args:
          frame: uint8 `[H, W, 3]` RGB.
        """
        ...


def find_people(detector: Detector, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what a detector finds inside a frame, boxes `[N, 4]` and scores `[N]` as float64.

    Raises:
      InputError: when it returns something else than boxes and scores.
    """
    try:
        boxes, scores = (np.asarray(values, np.float64) for values in detector(frame))
        boxes, scores = boxes.reshape(-1, 4), scores.reshape(-1)
        if len(boxes) != len(scores):
            raise ValueError(f"{len(boxes)} boxes and {len(scores)} scores")
    except (TypeError, ValueError) as error:
        raise InputError(f"the detector does not return boxes [N, 4] and scores [N]: {error}") from error
    height, width = frame.shape[:2]
    low = np.clip(boxes[:, :2], 0, (width, height))
    high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, (width, height))
    inside = np.concatenate([low, high - low], 1)
    good = np.isfinite(inside).all(1) & np.isfinite(scores) & (inside[:, 2] > 1) & (inside[:, 3] >= _SMALLEST)
    return inside[good], np.clip(scores[good], 0, 1)


def suppress(boxes: np.ndarray, scores: np.ndarray, most_overlap: float) -> np.ndarray:
    """Return the numbers of the boxes that stay, best first, when none may overlap a better one by more (IoU)."""
    order = np.argsort(-scores, kind="stable")
    overlap = iou(boxes, boxes)
    kept: list[int] = []
    for number in order.tolist():
        if not kept or overlap[number, kept].max() <= most_overlap:
            kept.append(number)
    return np.array(kept, int)
