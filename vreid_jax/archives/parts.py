"""The parts of an archive: which rows each holds, and its name, which says from what they were made."""

import dataclasses
import functools
import hashlib
import json
import os
import tempfile
from pathlib import Path

from vreid_jax.archives.manifest import Video
from vreid_jax.archives.store import Store, fetch, opened
from vreid_jax.datasets.video.track_file import NobodyFound, read_tracks
from vreid_jax.datasets.video.tracks import first_frames
from vreid_jax.errors import InputError
from vreid_jax.files import given_path
from vreid_jax.search.gallery import MOST_DAYS, is_retention

JOB = "_archive.json"  # in the folder: the model and the settings of all its parts
OWNER = ".archive-"  # in a folder of a part's pictures: how the notes of the archives that use them begin
FAILED, EMPTY = "_failed", "_empty"  # folders of records; what reads Parquet folders leaves out names with a `_`
_END = 1 << 20  # bytes at each end of a video that are looked at
_FORMAT = 1  # of names: a part that the library would make in another way has another


@dataclasses.dataclass(frozen=True)
class ArchiveSettings:
    """What the rows of all parts of an archive depend on beside the model.

    Attributes:
      detector: of videos without tracks.
      part_frames: a video with tracks is divided into parts of the tracks that begin in so many frames; 0: one part.
      retention_days: how long the parts may be kept; None: it is not stated.
      pictures: folder, on a disk that every machine sees, where the pictures of the tracks stay; empty: they do not.
    """

    detector: str = "hog"
    part_frames: int = 0
    retention_days: int | None = None
    pictures: str = ""

    def __post_init__(self):
        """Raise `InputError` for what cannot be."""
        if self.part_frames < 0:
            raise InputError(f"--part-frames={self.part_frames} must not be negative")
        if self.retention_days is not None and not is_retention(self.retention_days):
            raise InputError(f"--retention-days={self.retention_days} must be from 1 to {MOST_DAYS}")
        if self.pictures:
            given_path(self.pictures)


@dataclasses.dataclass(frozen=True)
class Part:
    """The tracks of a video that begin in some of its frames: what one task embeds, and one file holds.

    Attributes:
      video: the video.
      begin: first frame, from 1, in which its tracks may begin, and the first one behind the last; None: all tracks.
      source: digest of the video's address, by which parts of one that has changed since are found.
      content: digest of all that its rows are made from.
    """

    video: Video
    begin: tuple[int, int] | None
    source: str
    content: str

    @property
    def stem(self) -> str:
        """The name of its files without folder and suffix."""
        return f"{self.source}-{self.content}"

    @property
    def name(self) -> str:
        """The name of its file in the archive."""
        return f"camera={self.video.camera}/date={self.video.date}/{self.stem}.parquet"

    @property
    def empty(self) -> str:
        """The name of the record that it has no rows."""
        return f"{EMPTY}/{self.stem}.json"

    @property
    def failed(self) -> str:
        """The name of the record that it could not be made."""
        return f"{FAILED}/{self.stem}.json"

    def __str__(self) -> str:
        """Its video and, of a part of one, its frames."""
        return f"{self.video.address} from frame {self.begin[0]}" if self.begin else self.video.address


def parts_of(video: Video, fingerprint: str, settings: ArchiveSettings) -> list[Part]:
    """Return the parts of a video.

    A track belongs to the part in whose frames it begins, and is whole there, so that no tracklet is cut in two. A video
    without tracks is one part, since tracking goes on from frame to frame.

    Raises:
      InputError: when the video or its tracks cannot be read.
    """
    detector = None if video.tracks else _detector_identity(settings.detector)
    made_from = [_FORMAT, fingerprint, detector, settings.retention_days]
    made_from += [video.camera, video.start, video_digest(video.address)]
    made_from += [_file_digest(video.tracks) if video.tracks else None, bool(settings.pictures)]
    return [
        Part(video, begin, source_of(video), _digest([*made_from, begin], 20))
        for begin in _beginnings(video, settings.part_frames)
    ]


def source_of(video: Video) -> str:
    """Return the digest of a video's address."""
    return _digest(video.address, 12)


def video_digest(address: str) -> str:
    """Return a digest of length, first and last megabyte of a video; it stays when the video is moved."""
    with opened(address) as (file, size):
        digest = hashlib.sha256(str(size).encode())
        digest.update(file.read(_END))
        file.seek(max(0, size - _END))
        digest.update(file.read())
    return digest.hexdigest()


@functools.cache
def _detector_identity(detector: str) -> str:
    """Return a detector's name, with the digest of its file in place of the file's where it has one."""
    name, _, file = detector.partition(":")
    return f"{name}:{_file_digest(file)}" if os.path.isfile(file) else detector


def _file_digest(address: str) -> str:
    with opened(address) as (file, _):
        return hashlib.sha256(file.read()).hexdigest()


def _beginnings(video: Video, part_frames: int) -> list[tuple[int, int] | None]:
    if not (video.tracks and part_frames):
        return [None]
    with tempfile.TemporaryDirectory() as scratch:
        try:
            begins = first_frames(read_tracks(fetch(video.tracks, Path(scratch)))).values()
        except NobodyFound:
            return [None]
    numbers = sorted({(frame - 1) // part_frames for frame in begins})
    return [(number * part_frames + 1, (number + 1) * part_frames + 1) for number in numbers]


def _digest(value: object, length: int) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:length]


def note_forgotten(gallery: Path) -> None:
    """Note that nobody is left in a file, if it is one of an archive, so that its video is not embedded again.

    Raises:
      InputError: when the archive cannot be written.
    """
    archive = Path(os.path.realpath(gallery.parent), gallery.name).parents[2:3]  # the file itself may be a link
    if archive and (archive[0] / JOB).is_file():
        about = {"video": None, "begin": None, "why": "all who were in it were forgotten"}
        Store(str(archive[0])).write(f"{EMPTY}/{gallery.stem}.json", json.dumps(about, indent=1).encode())
