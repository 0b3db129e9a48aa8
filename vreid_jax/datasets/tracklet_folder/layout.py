"""The layout `PATH/{train,query,gallery}/<pid>/c<camid>_<name>/<frame>.jpg`: listed, checked, and its fingerprint."""

import dataclasses
import filecmp
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from vreid_jax.datasets.manual_files import frame_order, is_litter
from vreid_jax.datasets.pictures import SUFFIXES, fault
from vreid_jax.errors import InputError

SPLITS = ("train", "query", "gallery")
BAD_FRAMES = ("error", "skip")
OTHER_PICTURES = (".bmp", ".gif", ".tif", ".tiff", ".webp")
_CAMERA = re.compile(r"c(\d+)(?:_.*)?")


@dataclasses.dataclass(frozen=True)
class FolderTracklet:
    """One tracklet folder; `tracklet_id` is its path below the split's folder."""

    tracklet_id: str
    pid: int
    camid: int
    frames: tuple[Path, ...]


def _entries(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if not is_litter(p.name))


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
            frames = [p for p in _entries(path) if p.suffix.lower() in SUFFIXES]
            if other := [p for p in _entries(path) if p.suffix.lower() in OTHER_PICTURES]:
                raise InputError(f"{other[0]}: frames are .jpg or .png; convert it, or remove it")
            if not frames:
                raise InputError(f"{path} has no frames: a tracklet folder holds at least one .jpg or .png")
            frames.sort(key=lambda path: frame_order(path.name))
            tracklets.append(FolderTracklet(f"{person.name}/{path.name}", pid, int(match[1]), tuple(frames)))
    if not tracklets:
        raise InputError(f"{folder} is empty: it holds folders <pid>/c<camera>_<name> of frames")
    return tracklets


def check_shared_names(query: list[FolderTracklet], gallery: list[FolderTracklet]) -> None:
    """A name in both query and gallery is one tracklet, embedded once; `InputError` where their frames differ."""
    there = {tracklet.tracklet_id: tracklet.frames for tracklet in gallery}
    for tracklet in query:
        other = there.get(tracklet.tracklet_id, tracklet.frames)
        same = len(tracklet.frames) == len(other) and all(
            filecmp.cmp(a, b, shallow=False) for a, b in zip(tracklet.frames, other, strict=True)
        )
        if not same:
            raise InputError(
                f"{tracklet.frames[0].parent} and {other[0].parent} have one name and different frames: rename one"
            )


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
            wrong = fault(frame.read_bytes())
            if not wrong:
                good.append(frame)
            elif bad_frames == "error":
                raise InputError(f"{frame} {wrong}; repair it, or set bad_frames=skip to leave it out")
        if not good:
            raise InputError(f"{tracklet.frames[0].parent} has no readable frame: every tracklet needs at least one")
        skipped += len(tracklet.frames) - len(good)
        kept.append(dataclasses.replace(tracklet, frames=tuple(good)))
    return kept, skipped
