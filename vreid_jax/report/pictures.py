"""Pictures inside a page, as data addresses; a tracklet is a strip of frames that the style sheet moves."""

import base64
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import UInt8

from vreid_jax import data
from vreid_jax.visualize.heads import blur_heads

FRAMES = 8  # of a strip; the style sheet's `steps()` has the same number
HEIGHT, WIDTH = 96, 48
QUALITY = 72


def strip(tracklets: data.Tracklets, row: int, *, blur_faces: bool = False) -> str:
    """Return evenly spread frames of a tracklet side by side, 96 x 384 pixels, as a data address."""
    return _address(strip_jpeg(tracklets, row, blur_faces=blur_faces))


def strip_jpeg(
    tracklets: data.Tracklets, row: int, *, height: int = HEIGHT, width: int = WIDTH, blur_faces: bool = False
) -> bytes:
    """Return evenly spread frames of a tracklet side by side, each `height` x `width` pixels, as a JPEG."""
    numbers = np.linspace(0, int(tracklets.num_frames[row]) - 1, FRAMES).round().astype(int)
    frames = tracklets.read(row, numbers)
    return join_frames(blur_heads(frames) if blur_faces else frames, height, width)


def join_frames(frames: UInt8[np.ndarray, "T H W 3"], height: int, width: int) -> bytes:
    """Return frames side by side, each resized to `height` x `width` pixels, as a JPEG."""
    return _jpeg(np.concatenate(list(data.resize(frames, height, width)), axis=1), QUALITY)


def strips(tracklets: data.Tracklets, rows: Iterable[int], *, blur_faces: bool = False) -> dict[int, str]:
    """Return the strip of every distinct row."""
    return {row: strip(tracklets, row, blur_faces=blur_faces) for row in sorted(set(rows))}


def jpeg_address(picture: UInt8[np.ndarray, "H W 3"], quality: int) -> str:
    """Return an RGB picture as the data address of a JPEG of the given quality, in percent."""
    return _address(_jpeg(picture, quality))


def _jpeg(picture: UInt8[np.ndarray, "H W 3"], quality: int) -> bytes:
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


def _address(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
