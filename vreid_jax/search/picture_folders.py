"""Folders of pictures as tracklets: what is listed, in which order, and with which labels."""

import dataclasses
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vreid_jax import data
from vreid_jax.datasets.manual.files import frame_order, is_litter
from vreid_jax.datasets.pictures import SUFFIXES, fault
from vreid_jax.datasets.tracklet_folder.layout import LARGEST
from vreid_jax.errors import InputError
from vreid_jax.files import read_regular

UNKNOWN = -1  # for a frame number
_CAMERA = re.compile(r"c(\d+)(?:_.*)?")
_JUNK = "-1"  # in the place of an identity: boxes without a person
_NUMBER = re.compile(r"\d+")


def list_tracklets(root: Path) -> list[Path]:
    """Return every folder that holds pictures, `root` and all folders below it, sorted; junk, `-1/c<camid>_<name>`, is not.

    A link to a folder is followed, unless it leads back to a folder that contains it.

    Raises:
      InputError: when no folder holds pictures, all that do are junk, or one cannot be read.
    """
    try:
        found = list(_folders_of_pictures(root))
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not found:
        raise InputError(f"{root} has no pictures: a tracklet is a folder of .jpg or .png frames")
    wanted = [folder for folder in found if not (folder.parent.name == _JUNK and _CAMERA.fullmatch(folder.name))]
    if not wanted:
        raise InputError(f"{root} has only junk, tracklets of the identity {_JUNK}, which is never searched")
    return sorted(wanted)


def _folders_of_pictures(root: Path) -> Iterator[Path]:
    """Yield the folders that hold pictures, `root` and below."""
    waiting: list[tuple[Path, tuple[Path, ...]]] = [(root, ())]  # with the folders on the way to each
    while waiting:
        folder, above = waiting.pop()
        real = folder.resolve()
        if real in above:
            continue
        with os.scandir(folder) as entries:
            found = list(entries)
        if any(map(_is_picture, found)):
            yield folder
        waiting += [
            (folder / entry.name, (*above, real)) for entry in found if entry.is_dir() and not is_litter(entry.name)
        ]


def _is_picture(entry: os.DirEntry) -> bool:
    return Path(entry.name).suffix.lower() in SUFFIXES and not is_litter(entry.name) and not entry.is_dir()


@dataclasses.dataclass(frozen=True)
class Frame:
    """A file of a picture, with text that changes when it is replaced."""

    path: Path
    content: str


class FolderTracklets:
    """Folders of pictures as `data.Tracklets`; files are opened when their frames are read."""

    def __init__(self, root: Path, folders: list[Path]):
        self.frames = [_list_frames(folder) for folder in folders]
        labels = [_labels(folder) for folder in folders]
        self.pids, self.camids = (np.array(values, np.int64) for values in zip(*labels, strict=True))
        names = [folder.relative_to(root).as_posix() for folder in folders]
        self.tracklet_ids = np.array([root.name if name == "." else name for name in names])
        self.num_frames = np.array([len(frames) for frames in self.frames])
        self._whole: set[Path] = set()  # pictures that were checked

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, row: int, frame_numbers: np.ndarray) -> np.ndarray:
        """Decode frames: uint8 RGB `frame_numbers.shape + [H, W, 3]`, those of several sizes at their median height and width."""
        unique, where = np.unique(frame_numbers, return_inverse=True)
        paths = [self.frames[row][number].path for number in unique]
        frames = data.decode_frames([self._read(path) for path in paths], str(paths[0].parent))
        return frames[where.reshape(frame_numbers.shape)]

    def _read(self, path: Path) -> bytes:
        """Return the content of a picture file, checked once to be a whole picture."""
        encoded = read_regular(path)
        if path not in self._whole:
            if problem := fault(encoded):
                raise InputError(f"{path} {problem}; repair or remove it")
            self._whole.add(path)
        return encoded


def _labels(folder: Path) -> tuple[int, int]:
    """Return identity and camera of a folder `<pid>/c<camid>_<name>`, 0 and 0 for any other name."""
    found = _CAMERA.fullmatch(folder.name)
    person = folder.parent.name
    if not found or not person.isdecimal():
        return 0, 0
    return _whole_number(person, folder), _whole_number(found[1], folder)


def _list_frames(folder: Path) -> list[Frame]:
    """Return the pictures of a folder in the order of their frame numbers, or of their names without numbers."""
    try:
        with os.scandir(folder) as entries:
            frames = [_frame(folder, entry) for entry in entries if _is_picture(entry)]
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not frames:
        raise InputError(f"{folder} has no pictures: a tracklet is a folder of .jpg or .png frames")
    return sorted(frames, key=lambda frame: frame_order(frame.path.name))


def _frame(folder: Path, entry: os.DirEntry) -> Frame:
    path = folder / entry.name
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the name of {str(path)!r} is not UTF-8: rename it") from error
    about = entry.stat()
    if not stat.S_ISREG(about.st_mode):
        raise InputError(f"{path} is not a picture but a pipe or a device: remove it")
    return Frame(path, describe_file(entry.name, about))


def frame_number(path: Path) -> int:
    """Return the last number in a file's name."""
    found = _NUMBER.findall(path.stem)
    return _whole_number(found[-1], path) if found else UNKNOWN


def describe_file(name: str, about: os.stat_result) -> str:
    """Return text that changes when a file is replaced: of its name, size and time of modification."""
    return f"{name}\0{about.st_size}\0{about.st_mtime_ns}"


def _whole_number(text: str, path: Path) -> int:
    if len(text.lstrip("0")) > len(str(LARGEST)) or int(text) > LARGEST:
        raise InputError(f"{path}: {text} is too large a number; use a smaller one")
    return int(text)
