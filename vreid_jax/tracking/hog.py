"""The people detector that comes with OpenCV: histograms of oriented gradients (Dalal & Triggs, 2005). It needs no file.

Its settings were chosen on `vreid data scene` (docs/tracking.md). It finds people who stand or walk upright and are seen
whole; a network (`onnx:FILE`) finds more.
"""

from typing import Any

import cv2
import numpy as np

from vreid_jax.errors import InputError

_LEAST = -0.1  # of the classifier's values, at which a box is worth looking at
_HALF, _STEEP = 0.1, 6.0  # the value whose score is one half, and how fast scores change around it
_WIDE, _TALL = 0.75, 0.82  # share of its window that a person fills
_COVERED = 0.55  # of the smaller of two boxes, from which they are of one person
_MOST_PIXELS = 4_000_000  # of the picture that is searched


class HogDetector:
    """Finds people of at least 60 pixels: the smallest window has 128, and the frame is doubled in size."""

    def __init__(self):
        """Set the detector up.

        Raises:
          InputError: when this OpenCV lacks it.
        """
        if not hasattr(cv2, "HOGDescriptor_getDefaultPeopleDetector"):
            raise InputError(
                "this OpenCV lacks the HOG people detector: python3 -m pip install opencv-contrib-python-headless"
            )
        module: Any = cv2
        self._hog = module.HOGDescriptor()
        self._hog.setSVMDetector(module.HOGDescriptor_getDefaultPeopleDetector())

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes `[N, 4]` (left, top, width, height) and scores `[N]` of the people in uint8 `[H, W, 3]` RGB."""
        zoom = min(2.0, (_MOST_PIXELS / (frame.shape[0] * frame.shape[1])) ** 0.5)
        size = max(64, round(frame.shape[1] * zoom)), max(128, round(frame.shape[0] * zoom))
        picture = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), size, interpolation=cv2.INTER_LINEAR)
        windows, values = self._hog.detectMultiScale(
            picture, hitThreshold=_LEAST, winStride=(8, 8), padding=(16, 16), scale=1.1, groupThreshold=0
        )
        windows = np.array(windows, np.float64).reshape(-1, 4) / np.array(
            [size[0] / frame.shape[1], size[1] / frame.shape[0]] * 2
        )
        values = np.array(values, np.float64).reshape(-1)
        shrunk = windows[:, 2:] * [_WIDE, _TALL]
        boxes, values = merged(np.concatenate([windows[:, :2] + (windows[:, 2:] - shrunk) / 2, shrunk], 1), values)
        return boxes, 1 / (1 + np.exp(-_STEEP * (values - _HALF)))


def merged(boxes: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one box for each person: the mean of those that cover a better one, weighted by `exp(2 value)`, and the best value."""
    order = np.lexsort((*boxes.T, -values))  # OpenCV's threads return them in any order
    boxes, values = boxes[order], values[order]
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum((boxes[:, :2] + boxes[:, 2:])[:, None], (boxes[:, :2] + boxes[:, 2:])[None])
    area = np.prod(boxes[:, 2:], 1)
    covered = np.prod(np.maximum(high - low, 0), 2) / np.minimum(area[:, None], area[None])
    free = np.ones(len(boxes), bool)
    found, best = [], []
    for number in range(len(boxes)):
        if free[number]:
            group = free & (covered[number] > _COVERED)
            free &= ~group
            weights = np.exp(2 * values[group])
            found.append(weights @ boxes[group] / weights.sum())
            best.append(values[number])
    return np.array(found).reshape(-1, 4), np.array(best)
