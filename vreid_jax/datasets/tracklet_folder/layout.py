"""The layout `PATH/{train,query,gallery}/<pid>/c<camid>_<name>/<frame>.jpg`: listed, checked, and its fingerprint."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from vreid_jax.errors import InputError

SPLITS = ("train", "query", "gallery")
BAD_FRAMES = ("error", "skip")
_PICTURES = (".jpg", ".jpeg", ".png")
_CAMERA = re.compile(r"c(\d+)(?:_.*)?")
_NUMBER = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True)
class FolderTracklet:
    """One tracklet folder; `tracklet_id` is its path below the split's folder."""

    tracklet_id: str
    pid: int
    camid: int
    frames: tuple[Path, ...]


def is_litter(name: str) -> bool:
    """Whether a file or folder is something that an operating system left behind."""
    return name.startswith(".") or name in ("Thumbs.db", "desktop.ini", "__MACOSX")


def _entries(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if not is_litter(p.name))


def _frame_order(path: Path) -> tuple:
    """By frame number, the last number in the name; by name where there is none."""
    numbers = _NUMBER.findall(path.stem)
    return (0, int(numbers[-1]), path.name) if numbers else (1, 0, path.name)


def list_split(root: Path, split: str) -> list[FolderTracklet]:
    """The tracklets of a split, sorted by path, frames in order of their number; files are not opened.

    Raises:
      InputError: the split is missing or empty, a pid or camera does not parse, a tracklet has no frames.
    """
    folder = root / split
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: a tracklet folder has the subfolders {', '.join(SPLITS)}")
    tracklets = []
    for person in _entries(folder):
        pid = _pid(person, split)
        for path in _entries(person):
            if not path.is_dir():
                raise InputError(f"{path} is a file where a folder c<camera>_<name> of frames is expected")
            match = _CAMERA.fullmatch(path.name)
            if not match:
                raise InputError(f"{path}: the name of a tracklet folder must be c<camera>_<name>, as in c2_track17")
            frames = [p for p in _entries(path) if p.suffix.lower() in _PICTURES]
            if not frames:
                raise InputError(f"{path} has no frames: a tracklet folder holds at least one .jpg or .png")
            frames.sort(key=_frame_order)
            tracklets.append(FolderTracklet(f"{person.name}/{path.name}", pid, int(match[1]), tuple(frames)))
    if not tracklets:
        raise InputError(f"{folder} is empty: it holds folders <pid>/c<camera>_<name> of frames")
    return tracklets


def _pid(person: Path, split: str) -> int:
    if not person.is_dir() or not re.fullmatch(r"-1|\d+", person.name):
        raise InputError(f"{person}: {person.parent} holds one folder for each person, named by a whole number")
    pid = int(person.name)
    if pid <= 0 and split != "gallery":
        raise InputError(f"{person}: pid {pid} stands for distractors or junk, which belong into gallery only")
    return pid


def find(path: str | os.PathLike) -> Path:
    """The folder, checked to be there.

    Raises:
      InputError: there is no such folder.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: path must name one with the subfolders {', '.join(SPLITS)}")
    return root.resolve()


def fingerprint(root: Path, bad_frames: str) -> str:
    """16 hexadecimal digits that change with the paths, sizes and times of the files, and with `bad_frames`."""
    digest = hashlib.sha256(f"{root}\0{bad_frames}\0".encode())
    for split in SPLITS:
        for folder, folders, files in os.walk(root / split, followlinks=True):
            folders[:] = sorted(f for f in folders if not is_litter(f))
            digest.update(f"{os.path.relpath(folder, root)}\0".encode("utf-8", "surrogateescape"))
            for name in sorted(f for f in files if not is_litter(f)):
                stat = os.stat(os.path.join(folder, name))
                digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def is_readable(path: Path) -> bool:
    """Whether a frame decodes to a picture."""
    data = np.fromfile(path, np.uint8)
    return data.size > 0 and cv2.imdecode(data, cv2.IMREAD_COLOR) is not None


def check_frames(tracklets: Iterable[FolderTracklet], bad_frames: str) -> tuple[list[FolderTracklet], int]:
    """Decodes every frame once.

    Args:
      tracklets: of one split.
      bad_frames: "error", or "skip" to leave unreadable frames out.

    Returns:
      The tracklets without their unreadable frames, and how many of those there were.

    Raises:
      InputError: a frame is unreadable and `bad_frames` is "error", or a tracklet has no readable frame.
    """
    kept, skipped = [], 0
    for tracklet in tracklets:
        good = []
        for frame in tracklet.frames:
            if is_readable(frame):
                good.append(frame)
            elif bad_frames == "error":
                raise InputError(f"{frame} is not a readable image; repair it, or set bad_frames=skip to leave it out")
        if not good:
            raise InputError(f"{tracklet.frames[0].parent} has no readable frame: every tracklet needs at least one")
        skipped += len(tracklet.frames) - len(good)
        kept.append(dataclasses.replace(tracklet, frames=tuple(good)))
    return kept, skipped
