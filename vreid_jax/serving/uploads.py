"""Pictures and short videos of strangers: recognised by their first bytes, decoded in a process with limits."""

from __future__ import annotations

import collections
import dataclasses
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vreid_jax.datasets.pictures import fault
from vreid_jax.serving import upload_decoder
from vreid_jax.serving.refusal import Refusal

MOST_BYTES = 32 * 2**20
MOST_FRAMES = 32
SIDE = 640  # pixels of the longer side of what is kept
SECONDS = 20  # of the processor, and half as many again of the clock
MEMORY = 2 * 2**30
AT_ONCE = 2  # processes
KEPT, MINUTES = 64, 30  # of the queries that were uploaded

Frames = UInt8[np.ndarray, "T H W 3"]
Part = tuple[float, float, float, float]
"""Left, top, width and height of a rectangle, as shares of the picture."""

_NEEDED = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "HOME")  # to find packages; other variables may be secrets
_slots = threading.BoundedSemaphore(AT_ONCE)


def decode(data: bytes, part: Part = (0.0, 0.0, 1.0, 1.0)) -> Frames:
    """Return the frames of an uploaded picture or video, one of a picture, cut to a part of it.

    Args:
      data: JPEG or PNG, or a video: MP4, MOV, MKV, WebM or AVI.
      part: where the person is.

    Raises:
      Refusal: when it is not such a file, is damaged, or needs more than the limits; or when too many are decoded.
    """
    kind = recognise(data)
    if kind == "picture" and (wrong := fault(data)):
        raise Refusal(415, f"The file {wrong}.")
    if not _slots.acquire(timeout=SECONDS):
        raise Refusal(503, "Other files are being decoded: try again in a moment.")
    try:
        frames = _in_a_process(data, kind)
    finally:
        _slots.release()
    left, top, width, height = part
    rows, columns = frames.shape[1:3]
    cut = frames[
        :,
        int(top * rows) : max(int(top * rows) + 1, round((top + height) * rows)),
        int(left * columns) : max(int(left * columns) + 1, round((left + width) * columns)),
    ]
    if 0 in cut.shape:
        raise Refusal(400, "The rectangle lies outside of the picture.")
    return np.ascontiguousarray(cut)


def recognise(data: bytes) -> str:
    """Return "picture" or "video", by the first bytes of a file; `Refusal` for anything else."""
    if len(data) > MOST_BYTES:
        raise Refusal(413, f"The file is larger than {MOST_BYTES >> 20} MB.")
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return "picture"
    is_video = data[4:8] == b"ftyp" or data.startswith(b"\x1aE\xdf\xa3") or data[:4] + data[8:12] == b"RIFFAVI "
    if not is_video:
        raise Refusal(415, "The file is neither a picture (JPEG, PNG) nor a video (MP4, MOV, MKV, WebM, AVI).")
    return "video"


def _in_a_process(data: bytes, kind: str) -> Frames:
    with tempfile.TemporaryDirectory(prefix="vreid-upload-") as folder:
        file = Path(folder) / "upload"
        file.write_bytes(data)
        limits = [str(number) for number in (SECONDS, MEMORY, MOST_FRAMES, SIDE)]
        try:
            done = subprocess.run(
                [sys.executable, "-P", upload_decoder.__file__, str(file), kind, *limits],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SECONDS * 1.5,
                cwd=folder,
                env={name: os.environ[name] for name in _NEEDED if name in os.environ},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Refusal(415, f"The file takes longer than {SECONDS} seconds to decode.") from error
    if done.returncode == 3:
        raise Refusal(415, f"The file {done.stdout.decode(errors='replace')[:200]}.")
    header, _, pixels = done.stdout.partition(b"\n")
    try:
        count, height, width = map(int, header.split())
        return np.frombuffer(pixels, np.uint8).reshape(count, height, width, 3)
    except ValueError as error:  # it died: of a limit, or of the file
        raise Refusal(415, "The file cannot be decoded within the time and memory for it.") from error


@dataclasses.dataclass(frozen=True)
class Upload:
    """A query that somebody uploaded.

    Attributes:
      vector: `[D]`.
      frames: what was searched for.
      digest: of the file, by which the audit log names it.
      time: when it came, seconds of a monotonic clock.
    """

    vector: np.ndarray
    frames: Frames
    digest: str
    time: float = dataclasses.field(default_factory=time.monotonic)


class UploadedQueries:
    """The last uploads, in memory only, each under a name that cannot be guessed, for `MINUTES` at most."""

    def __init__(self):
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[str, Upload] = collections.OrderedDict()

    def add(self, upload: Upload) -> str:
        """Keep an upload and return its name."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[name] = upload
            while len(self._kept) > KEPT or self._is_old(next(iter(self._kept.values()))):
                self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> Upload:
        """Return an upload; `Refusal` when it is gone."""
        with self._lock:
            upload = self._kept.get(name)
        if upload is None or self._is_old(upload):
            raise Refusal(404, f"This upload is not kept any longer: uploads are forgotten after {MINUTES} minutes.")
        return upload

    def _is_old(self, upload: Upload) -> bool:
        return time.monotonic() - upload.time > 60 * MINUTES
