"""Tracklets as film strips inside a page: a few frames side by side, moved by the style sheet."""

import base64
from collections.abc import Iterable

import cv2
import numpy as np

from vreid_jax import data

FRAMES = 8  # of a strip; the style sheet's `steps()` counts them, too
HEIGHT, WIDTH = 96, 48
QUALITY = 72


def strip(tracklets: data.Tracklets, row: int) -> str:
    """A tracklet's evenly spread frames side by side, [96, 8 · 48] pixels, as a JPEG data address."""
    numbers = np.linspace(0, int(tracklets.num_frames[row]) - 1, FRAMES).round().astype(int)
    frames = data.resize(tracklets.read(row, numbers), HEIGHT, WIDTH)
    image = np.concatenate(list(frames), axis=1)
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded).decode()


def strips(tracklets: data.Tracklets, rows: Iterable[int]) -> dict[int, str]:
    """The strips of distinct rows."""
    return {row: strip(tracklets, row) for row in sorted(set(rows))}
