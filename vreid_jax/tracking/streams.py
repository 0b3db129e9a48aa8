"""Frames of a video file, a camera or a network stream, one at a time."""

import contextlib
import dataclasses
import logging
import os
import threading
import time
from collections.abc import Generator, Iterator

import cv2
import numpy as np

from vreid_jax.datasets.video.reading import Frames, Reader, frame_count, frame_rate
from vreid_jax.errors import InputError
from vreid_jax.files import check_readable, given_path

log = logging.getLogger(__name__)

_USUAL_FPS = 25.0  # of a file that does not tell
_MOST_LIVE_FPS = 1000.0
_PATIENCE = 10.0  # seconds without a picture after which a camera is gone


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """What is watched.

    Attributes:
      name: as given.
      live: a camera or a network stream, which has no end, rather than a file.
      fps: frames per second; of a live one as it states, 0 where it does not; of a file as it states or by its timestamps.
      frames: number of frames that a file states; 0 where it does not, and of a live one.
      size: height and width of a frame, pixels.
      reader: OpenCV's.
      first: the first frame, which is read already, BGR.
    """

    name: str
    live: bool
    fps: float
    frames: int
    size: tuple[int, int]
    reader: Reader
    first: np.ndarray


class CameraGone(InputError):
    """A live stream gave no picture any more."""


@contextlib.contextmanager
def open_stream(name: str) -> Iterator[Stream]:
    """Open a video file, a camera by its number (`0`), or a network stream (`rtsp://…`).

    Raises:
      InputError: when it is missing, or not a video, or gives no picture.
    """
    if not name:
        raise InputError("the video is empty: give a file, the number of a camera, or rtsp://…")
    camera, address = name.isascii() and name.isdigit(), "://" in name
    if not (camera or address):
        path = given_path(name)
        if not path.exists():
            raise InputError(f"the video {name} does not exist")
        check_readable(path)
    source = name if camera or address else os.fspath(given_path(name))
    with _without_log():
        reader = cv2.VideoCapture(int(source)) if camera else cv2.VideoCapture(source)
        readable, first = reader.read() if reader.isOpened() else (False, None)
    try:
        if not readable or first is None:
            raise InputError(_nothing(name, camera, address))
        live = camera or (address and not name.startswith("file://"))
        if live:
            stated = float(reader.get(cv2.CAP_PROP_FPS) or 0.0)
            fps, count = stated if 0 < stated <= _MOST_LIVE_FPS else 0.0, 0
        else:
            rate = frame_rate(reader, source)
            fps, count = rate or _USUAL_FPS, frame_count(reader, rate)
        yield Stream(name, live, fps, count, first.shape[:2], reader, first)
    finally:
        reader.release()


def _nothing(name: str, camera: bool, address: bool) -> str:
    if camera:
        return f"there is no camera {name}, or another program uses it: the first one has the number 0"
    if address:
        return f"{_without_password(name)} gives no picture: check the address, user and password, and that the camera is on"
    return f"{name} is not a video: OpenCV finds no frame in it"


def _without_password(address: str) -> str:
    """Return an address as it may be shown."""
    scheme, _, rest = address.partition("://")
    host = rest.rpartition("@")[2] if "@" in rest.split("/")[0] else rest
    return f"{scheme}://{host}"


def shown_name(stream: Stream) -> str:
    """Return the name of a stream as it may be shown: without the password of an address."""
    return _without_password(stream.name) if "://" in stream.name else stream.name


def frames_of(stream: Stream, skip: int = 0, *, warn: bool = False) -> Generator[tuple[int, np.ndarray], None, None]:
    """Yield the frames of a file behind the first `skip`, uint8 `[H, W, 3]` RGB, with their numbers, from 1.

    Those that cannot be read are left out, and have a number (`Frames`). With `warn`, a sentence at the end says so.
    """
    if not skip:
        yield 1, cv2.cvtColor(stream.first, cv2.COLOR_BGR2RGB)
    frames = Frames(stream.reader, stream.frames)
    for number in frames:
        if number <= skip:
            continue
        readable, frame = stream.reader.retrieve()
        if readable and frame is not None and frame.shape[:2] == stream.size:  # a damaged one may have another
            yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    if warn and frames.damaged(stream.fps):
        log.warning(
            "%d of about %d frames of %s could be read: it is damaged or incomplete, and there are no boxes in the others",
            frames.read,
            stream.frames,
            shown_name(stream),
        )


def newest_frames(stream: Stream, fps: float) -> Generator[tuple[int, np.ndarray], None, None]:
    """Yield what a live stream shows now, at most `fps` frames a second; what comes meanwhile is skipped.

    Numbers begin with 1, rise, and tell the time: frame n came (n - 1) / fps seconds after the first one, to a frame. Where
    the stream stalls, or whoever takes the frames is slow, numbers are left out.

    Raises:
      CameraGone: when there was no picture for ten seconds.
    """
    box = _Newest(stream.reader)
    began, number = time.monotonic(), 0
    try:
        while True:
            if number:
                time.sleep(max(0.0, began + number / fps - time.monotonic()))
            newest = box.take()
            if newest is None:
                raise CameraGone(
                    f"{_without_password(stream.name) if '://' in stream.name else f'camera {stream.name}'} is gone: it gave no picture for {_PATIENCE:g} seconds"
                )
            frame, came = newest
            if frame.shape[:2] == stream.size:
                if not number:  # what was seen when the stream was opened is older: the detector was loaded meanwhile
                    began = came
                number = max(number + 1, 1 + round((came - began) * fps))
                yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        box.close()


class _Newest:
    """Reads a live stream in a thread, so that its buffer never fills, and keeps the newest frame."""

    def __init__(self, reader: Reader):
        self._reader, self._ended = reader, False
        self._newest: tuple[np.ndarray, float] | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._ended:
            readable, frame = self._reader.read()
            with self._changed:
                if readable and frame is not None:
                    self._newest = frame, time.monotonic()
                else:
                    self._ended = True
                self._changed.notify_all()

    def take(self) -> tuple[np.ndarray, float] | None:
        """Return the newest frame that was not taken yet and when it came, or None when none comes."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended, timeout=_PATIENCE)
            newest, self._newest = self._newest, None
        return newest

    def close(self) -> None:
        """Stop reading."""
        self._ended = True
        self._thread.join(timeout=2.0)


@contextlib.contextmanager
def _without_log() -> Iterator[None]:
    """Keep OpenCV from logging why a backend cannot open what another may; the sentence of the error says it."""
    logging = getattr(cv2.utils, "logging", None)
    if logging is None:
        yield
        return
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
