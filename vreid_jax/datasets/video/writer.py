"""Writing of videos with what every wheel of OpenCV has, which is not H.264."""

import contextlib
import os
from collections.abc import Iterator

import cv2
import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import given_path

# WebM with VP8 opens in browsers and players; MP4 with MPEG-4 part 2 is written thirty times as fast and opens in players.
CODECS = {".webm": "VP80", ".mp4": "mp4v", ".avi": "MJPG"}


@contextlib.contextmanager
def video_writer(path: str | os.PathLike, fps: float, size: tuple[int, int]) -> Iterator[cv2.VideoWriter]:
    """Yield a writer of frames, uint8 `[H, W, 3]` BGR; the suffix of `path` says which codec.

    Args:
      path: file to write, `.webm`, `.mp4` or `.avi`; it is replaced if it exists.
      fps: frames per second.
      size: height and width, pixels.

    Raises:
      InputError: when the suffix is another one, or OpenCV cannot write there.
    """
    path = given_path(path)
    codec = CODECS.get(path.suffix.lower())
    if codec is None:
        raise InputError(f"the name of the video {path} must end in {', '.join(CODECS)}")
    with _without_notes():
        writer = cv2.VideoWriter(os.fspath(path), cv2.VideoWriter.fourcc(*codec), fps, size[::-1])
    try:
        if not writer.isOpened():
            raise InputError(f"cannot write the video {path}: its folder is missing, or this OpenCV lacks {codec}")
        yield writer
    finally:
        writer.release()


def write_frame(writer: cv2.VideoWriter, frame: np.ndarray) -> None:
    """Write a frame, uint8 `[H, W, 3]` RGB."""
    writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Keep from stderr what OpenCV prints, whatever its log level, about the tag of VP8, which is right."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
