"""Animated pictures: tracklets side by side, each playing in a loop."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file
from vreid_jax.visualize.contact_sheet import Row

SUFFIXES = (".gif", ".webp")

_CAPTION = 14  # pixels below a tracklet
_WIDTH = 150  # pixels of a tracklet, with its caption


def animation(
    rows: Sequence[Row], columns: int = 6, cell_height: int = 160, longest: int = 60
) -> UInt8[np.ndarray, "T H W 3"]:
    """Lay tracklets out in a grid that plays.

    Args:
      rows: label and frames uint8 `[H, W, 3]` RGB in order; the caption is the part of the label after the last ": ".
      columns: tracklets side by side.
      cell_height: height of a tracklet's frames, pixels.
      longest: most frames of the animation; shorter tracklets start again.

    Returns:
      uint8 `[T, H, W, 3]`, RGB.

    Raises:
      InputError: when there is nothing to show.
    """
    rows = [(label, list(frames)) for label, frames in rows if len(frames)]
    if not rows:
        raise InputError("there are no frames to show in the animation")
    columns = min(columns, len(rows))
    length = min(longest, max(len(frames) for _, frames in rows))
    tall = cell_height + _CAPTION
    pictures = np.full((length, -(-len(rows) // columns) * tall, columns * _WIDTH, 3), 255, np.uint8)
    for number, (label, frames) in enumerate(rows):
        top, left = number // columns * tall, number % columns * _WIDTH
        for t, picture in enumerate(pictures):
            frame = frames[t % len(frames)]
            scale = min(cell_height / frame.shape[0], (_WIDTH - 4) / frame.shape[1])
            size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
            picture[top : top + size[1], left : left + size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            caption = label.rpartition(": ")[2]
            place = (left + 1, top + tall - 4)
            cv2.putText(picture, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.29, (30, 30, 30), 1, cv2.LINE_AA)
    return pictures


def write_animation(path: str | os.PathLike, pictures: UInt8[np.ndarray, "T H W 3"], frames_per_second: float) -> None:
    """Write a `.gif` or `.webp` that plays in a loop.

    Args:
      path: file to write; its suffix says which format.
      pictures: the frames, RGB.
      frames_per_second: speed.

    Raises:
      InputError: when the animation cannot be encoded or the file cannot be written.
    """
    moving = cv2.Animation()
    moving.frames = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]
    moving.durations = [round(1000 / frames_per_second)] * len(pictures)
    encoded, data = cv2.imencodeanimation(Path(path).suffix, moving)
    if not encoded:
        raise InputError(f"OpenCV cannot encode the animation {path}: show less in it")
    with atomic_file(path) as half:
        half.write_bytes(data.tobytes())
