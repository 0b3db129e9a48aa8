"""Pictures inside a page, as data addresses; a tracklet is a strip of frames that the style sheet moves."""

import base64
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import UInt8

from vreid_jax import data

FRAMES = 8  # of a strip; the style sheet's `steps()` has the same number
HEIGHT, WIDTH = 96, 48
QUALITY = 72


def strip(tracklets: data.Tracklets, row: int) -> str:
    """Return evenly spread frames of a tracklet side by side, 96 x 384 pixels, as a data address."""
    numbers = np.linspace(0, int(tracklets.num_frames[row]) - 1, FRAMES).round().astype(int)
    frames = data.resize(tracklets.read(row, numbers), HEIGHT, WIDTH)
    return jpeg_address(np.concatenate(list(frames), axis=1), QUALITY)


def strips(tracklets: data.Tracklets, rows: Iterable[int]) -> dict[int, str]:
    """Return the strip of every distinct row."""
    return {row: strip(tracklets, row) for row in sorted(set(rows))}


def jpeg_address(picture: UInt8[np.ndarray, "H W 3"], quality: int) -> str:
    """Return an RGB picture as the data address of a JPEG of the given quality, in percent."""
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
