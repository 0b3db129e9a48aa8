"""Files of tracks or detections in the format of MOTChallenge, read into boxes."""

import collections
import itertools
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

from vreid_jax.datasets.video.box_linking import Box, link
from vreid_jax.errors import InputError
from vreid_jax.files import given_path, read_regular

_LINE = "frame,id,x,y,w,h,confidence,-1,-1,-1"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)  # `float` takes 1_0, nan and ² besides
_LARGEST = 2**53 - 1  # up to here every whole number is a float of its own
_FARTHEST = 1e9  # pixels
_CLASS = 7  # the field of it, counted from 0
_TOLD = 5  # classes
LONG_ABSENCE = 8.0  # seconds: `vreid track` takes nobody for the same person again who was away for longer

log = logging.getLogger(__name__)


class NobodyFound(InputError):
    """A video without a single tracklet: an error where one was asked for, and usual among the videos of an archive."""


def read_tracks(path: str | os.PathLike, min_iou: float = 0.5, max_gap: int = 5) -> list[Box]:
    """Read `frame,id,x,y,w,h,conf,…` lines; those with confidence 0, which MOTChallenge ignores, are left out.

    If every id is -1, the boxes are detections and are linked into tracks (see `box_linking.link`).

    Raises:
      InputError: the file is missing, a line is malformed (its number is named), only some boxes have ids, or they are of
        several classes; `NobodyFound` where there is no box at all.
    """
    if not 0 < min_iou <= 1 or max_gap < 0:
        raise InputError(f"min_iou={min_iou} must be in (0, 1] and max_gap={max_gap} not negative")
    path = given_path(path)
    boxes, seen, classes = [], set(), collections.Counter[float]()
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        box, values = _parse(line, f"{path}, line {number}")
        if box.track != -1 and (box.frame, box.track) in seen:
            raise InputError(f"{path}, line {number}: track {box.track} has a second box in frame {box.frame}")
        seen.add((box.frame, box.track))
        if len(values) > 6 and values[6] == 0:
            continue
        boxes.append(box)
        classes[values[_CLASS] if len(values) > _CLASS else -1.0] += 1
    if not boxes:
        raise NobodyFound(f"{path} has no boxes: lines are {_LINE}")
    _refuse_classes(path, classes)
    without = sum(box.track == -1 for box in boxes)
    if without == len(boxes):
        return link(boxes, min_iou, max_gap)
    if without:
        raise InputError(f"{path}: {without} of {len(boxes)} boxes have no id (-1); give all of them one, or none")
    return boxes


def _refuse_classes(path: Path, classes: collections.Counter[float]) -> None:
    """Raise `InputError` where field 8 tells cars from people; in results of MOTChallenge it is -1, or metres."""
    if len(classes) < 2 or not all(value >= 0 and value % 1 == 0 for value in classes):
        return
    told = ", ".join(f"{value:g} ({count} boxes)" for value, count in classes.most_common(_TOLD))
    more = f" and {len(classes) - _TOLD} more" if len(classes) > _TOLD else ""
    raise InputError(f"{path} has boxes of the classes {told}{more} in field {_CLASS + 1}: keep the lines of people")


def warn_of_absences(boxes: Iterable[Box], fps: float, tracks: str | os.PathLike) -> None:
    """Warn of tracks that are absent for longer than `LONG_ABSENCE`, with how many; not where `fps` is 0, unknown.

    Whoever compares first and last frames takes such a track for somebody who was there all the time.
    """
    frames: dict[int, list[int]] = {}
    for box in boxes:
        frames.setdefault(box.track, []).append(box.frame)
    longest = LONG_ABSENCE * fps if fps > 0 else float("inf")
    gone = sum(any(b - a > longest for a, b in itertools.pairwise(sorted(found))) for found in frames.values())
    if gone:
        log.warning(
            "%d of %d tracks of %s come back after more than %g s: searching and linking take them for seen all the time "
            "between; give them another id after such a gap",
            gone,
            len(frames),
            tracks,
            LONG_ABSENCE,
        )


def _text(path: Path) -> str:
    try:
        content = read_regular(path)
    except InputError as error:
        raise InputError(f"the tracks {error}") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"the tracks {path} are UTF-16 text: save them as UTF-8, lines {_LINE}")
    try:
        return content.decode("utf-8-sig")  # some editors begin a UTF-8 file with a byte order mark
    except UnicodeDecodeError as error:
        raise InputError(f"the tracks {path} are not text: lines are {_LINE}") from error


def _parse(line: str, where: str) -> tuple[Box, list[float]]:
    """Return the box of a line, and all its numbers."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) < 6 or not all(map(_NUMBER.fullmatch, fields)):
        raise InputError(f"{where}: expected {_LINE} and found {_shortened(line)}")
    values = [float(field) for field in fields]
    frame, track, left, top, width, height = values[:6]
    if not _counts(frame) or not (track == -1 or _counts(track)):
        raise InputError(
            f"{where}: frame and id must be whole numbers from 1 and below 2**53 (id -1: a detection), found {frame:g} and "
            f"{track:g}"
        )
    if width <= 0 or height <= 0:
        raise InputError(f"{where}: width and height of a box must be positive, found {width:g} and {height:g}")
    if max(map(abs, (left, top, width, height))) > _FARTHEST:
        raise InputError(f"{where}: a box is in pixels, found {left:g}, {top:g}, {width:g}, {height:g}")
    return Box(int(frame), int(track), left, top, width, height), values


def _counts(value: float) -> bool:
    return 1 <= value <= _LARGEST and value % 1 == 0


def _shortened(line: str) -> str:
    return repr(line.strip() if len(line) < 100 else f"{line.strip()[:100]}…")
