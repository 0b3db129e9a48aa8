"""A video with the boxes of its tracks, each in a colour of its own."""

import colorsys
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm.auto import tqdm

from vreid_jax.datasets.video.box_linking import Box
from vreid_jax.datasets.video.writer import video_writer, write_frame
from vreid_jax.files import given_path
from vreid_jax.tracking.streams import frames_of, open_stream

_GOLDEN = 0.618034  # of the circle of hues: neighbouring numbers differ most


def write_preview(video: str, boxes: Iterable[Box], out: str | os.PathLike, *, progress: bool = False) -> None:
    """Write a video with boxes and the numbers of their tracks; it appears when it is complete.

    Args:
      video: the file that the boxes are of.
      boxes: in order of their frames.
      out: file to write, `.webm` (opens in browsers), `.mp4` or `.avi`.
      progress: whether to show a bar.
    """
    out = given_path(out)
    half = out.with_name(f".{out.stem}.partial{out.suffix}")
    try:
        with open_stream(video) as stream, video_writer(half, stream.fps, stream.size) as writer:
            pending = _by_frame(boxes)
            number, found, written, shown = 0, [], 0, None
            with tqdm(desc="preview", total=stream.frames or None, unit=" frames", disable=not progress) as bar:
                for frame_number, frame in frames_of(stream):
                    while number < frame_number:
                        number, found = next(pending, (sys.maxsize, []))
                    for box in found if number == frame_number else ():
                        draw_box(frame, box)
                    shown = frame if shown is None else shown
                    for _ in range(written + 1, frame_number):  # could not be read
                        write_frame(writer, shown)
                    write_frame(writer, frame)
                    bar.update(frame_number - written)
                    written, shown = frame_number, frame
        os.replace(half, out)
    finally:
        Path(half).unlink(missing_ok=True)


def draw_box(frame: np.ndarray, box: Box) -> None:
    """Draw a box with the number of its track into a frame, uint8 `[H, W, 3]` RGB, in place."""
    red, green, blue = colorsys.hsv_to_rgb(box.track * _GOLDEN % 1.0, 0.75, 1.0)
    colour = (255 * red, 255 * green, 255 * blue)
    left, top = round(box.left), round(box.top)
    cv2.rectangle(frame, (left, top), (round(box.left + box.width), round(box.top + box.height)), colour, 2)
    text = str(box.track)
    (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    base = max(top, tall + 4)
    cv2.rectangle(frame, (left, base - tall - 4), (left + wide + 4, base), colour, -1)
    cv2.putText(frame, text, (left + 2, base - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)


def _by_frame(boxes: Iterable[Box]) -> Iterator[tuple[int, list[Box]]]:
    found: list[Box] = []
    for box in boxes:
        if found and box.frame != found[0].frame:
            yield found[0].frame, found
            found = []
        found.append(box)
    if found:
        yield found[0].frame, found
