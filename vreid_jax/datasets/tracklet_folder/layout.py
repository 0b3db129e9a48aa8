"""The layout `PATH/{train,query,gallery}/<pid>/c<camid>_<name>/<frame>.jpg`: listing, checks and fingerprint.

A folder by which a model is only scored needs no `train`.
"""

import dataclasses
import filecmp
import hashlib
import os
import re
from pathlib import Path

from vreid_jax.datasets.catalog import BAD_FRAMES
from vreid_jax.datasets.manual.files import frame_order, is_litter
from vreid_jax.datasets.pictures import SUFFIXES, fault
from vreid_jax.errors import InputError
from vreid_jax.files import given_path, read_regular

__all__ = [
    "BAD_FRAMES",
    "LARGEST",
    "NEEDED",
    "OTHER_PICTURES",
    "SPLITS",
    "FolderTracklet",
    "check_frames",
    "check_held_out",
    "check_shared_names",
    "find",
    "fingerprint",
    "list_split",
    "people_on_both_sides",
    "splits_of",
]

SPLITS = ("train", "query", "gallery")
NEEDED = "query and gallery, and train if it is to be trained on"
LARGEST = 2**63 - 1  # an int64, which is how pid and camid are stored
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
    try:
        return sorted(p for p in folder.iterdir() if not is_litter(p.name))
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}): make it readable, or remove it") from error


def _number(text: str, path: Path) -> int:
    if int(text) > LARGEST:
        raise InputError(f"{path}: {text} is too large a number; use a smaller one")
    return int(text)


def splits_of(root: Path) -> tuple[str, ...]:
    """Return the splits that a folder must have: those of `SPLITS`, without `train` where nothing has that name."""
    return SPLITS if os.path.lexists(root / "train") else SPLITS[1:]


def list_split(root: Path, split: str) -> list[FolderTracklet]:
    """List the tracklets of a split, sorted by path, frames in order of their number; files are not opened.

    Raises:
      InputError: the split is missing or empty, a pid or camera does not parse, a tracklet has no frames.
    """
    folder = root / split
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: a tracklet folder has the subfolders {NEEDED}")
    tracklets = []
    for person in _entries(folder):
        pid = _pid(person, split)
        walks = _entries(person)
        if not walks:
            raise InputError(f"{person} is empty: it holds folders c<camera>_<name> of frames")
        for path in walks:
            if not path.is_dir():
                raise InputError(f"{path} is a file where a folder c<camera>_<name> of frames is expected")
            match = _CAMERA.fullmatch(path.name)
            if not match or re.search("[\ud800-\udfff]", path.name):  # surrogates: bytes that are not UTF-8
                raise InputError(
                    f"{str(path)!r}: the name of a tracklet folder must be c<camera>_<name> in UTF-8, as in c2_track17"
                )
            inside = _entries(path)
            frames = [p for p in inside if p.suffix.lower() in SUFFIXES]
            if other := [p for p in inside if p.suffix.lower() in OTHER_PICTURES]:
                raise InputError(f"{other[0]}: frames are .jpg or .png; convert it, or remove it")
            if not frames:
                raise InputError(f"{path} has no frames: a tracklet folder holds at least one .jpg or .png")
            frames.sort(key=lambda path: frame_order(path.name))
            tracklets.append(FolderTracklet(f"{person.name}/{path.name}", pid, _number(match[1], path), tuple(frames)))
    if not tracklets:
        raise InputError(f"{folder} is empty: it holds folders <pid>/c<camera>_<name> of frames")
    return tracklets


def check_shared_names(query: list[FolderTracklet], gallery: list[FolderTracklet]) -> None:
    """Check that tracklets of one name in query and gallery, which are embedded once, have the same frames.

    Raises:
      InputError: their frames differ.
    """
    there = {tracklet.tracklet_id: tracklet.frames for tracklet in gallery}
    for tracklet in query:
        other = there.get(tracklet.tracklet_id, tracklet.frames)
        if not _same(tracklet.frames, other):
            raise InputError(
                f"{tracklet.frames[0].parent} and {other[0].parent} share a name but not their frames: rename one"
            )


def check_held_out(train: list[FolderTracklet], test: list[FolderTracklet]) -> None:
    """Check that no tracklet of train is one of query or gallery; files are opened only where names and sizes agree.

    Raises:
      InputError: two have the same name and the same frames.
    """
    there = {tracklet.tracklet_id: tracklet.frames for tracklet in train}
    for tracklet in test:
        other = there.get(tracklet.tracklet_id)
        if other is None or len(other) != len(tracklet.frames):
            continue
        try:
            sizes = [[frame.stat().st_size for frame in frames] for frames in (other, tracklet.frames)]
            same = sizes[0] == sizes[1] and _same(other, tracklet.frames)
        except OSError:  # a broken link, a file of another user; `check_frames` reports it
            continue
        if same:
            raise InputError(
                f"{other[0].parent} and {tracklet.frames[0].parent} are the same tracklet: scores of what was trained on say "
                "nothing; remove one of them"
            )


def people_on_both_sides(train: list[FolderTracklet], test: list[FolderTracklet]) -> list[int]:
    """Return the pids, in order, that are in train and also in query or gallery."""
    return sorted({tracklet.pid for tracklet in train} & {tracklet.pid for tracklet in test})


def _same(some: tuple[Path, ...], others: tuple[Path, ...]) -> bool:
    return len(some) == len(others) and all(filecmp.cmp(a, b, shallow=False) for a, b in zip(some, others, strict=True))


def _pid(person: Path, split: str) -> int:
    if not person.is_dir() or not re.fullmatch(r"-1|\d+", person.name):
        raise InputError(f"{person}: {person.parent} holds one folder for each person, named by a whole number")
    pid = _number(person.name, person)
    if pid <= 0 and split != "gallery":
        raise InputError(
            f"{person}: pid {pid} stands for {'distractors' if pid == 0 else 'junk'}, which belong in gallery only"
        )
    return pid


def find(path: str | os.PathLike) -> Path:
    """Return the absolute path of the folder `path`.

    Raises:
      InputError: there is no such folder.
    """
    root = given_path(path)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: path must name one with the subfolders {NEEDED}")
    return root.resolve()


def fingerprint(root: Path, bad_frames: str) -> str:
    """Return 16 hexadecimal digits that change with the paths, sizes and times of the files, and with `bad_frames`."""
    digest = hashlib.sha256(f"{root}\0{bad_frames}\0".encode("utf-8", "surrogateescape"))
    for split in splits_of(root):
        digest.update(f"{split}\0".encode())  # or a person moved from a split to the next would change nothing
        _add_files(digest, str(root / split), depth=3)
    return digest.hexdigest()[:16]


def _add_files(digest, folder: str, depth: int) -> None:
    """Add the names down to `depth` levels below a folder; of the last level, the frames, also sizes and times."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # not a folder; `list_split` reports it
        entries = []
    for entry in entries:
        if is_litter(entry.name):
            continue
        about = ""
        if depth == 1:
            try:
                stat = entry.stat()
                about = f"{stat.st_size}\0{stat.st_mtime_ns}"
            except OSError as error:  # a broken link; `check_frames` reports it
                about = str(error.errno)
        digest.update(f"{depth}{entry.name}\0{about}\0".encode("utf-8", "surrogateescape"))
        if depth > 1:
            _add_files(digest, entry.path, depth - 1)


def check_frames(tracklet: FolderTracklet, bad_frames: str) -> FolderTracklet:
    """Decode every frame of a tracklet once, and return it without those that are unreadable.

    Args:
      tracklet: the tracklet.
      bad_frames: "error", or "skip" to leave unreadable frames out.

    Raises:
      InputError: a frame is unreadable and `bad_frames` is "error", or the tracklet has no readable frame.
    """
    good = []
    for frame in tracklet.frames:
        try:
            wrong = fault(read_regular(frame))
        except InputError as error:  # a broken link, a folder, a pipe, a file of another user
            wrong = str(error).removeprefix(f"{frame} ")
        if not wrong:
            good.append(frame)
        elif bad_frames == "error":
            raise InputError(f"{frame} {wrong}; repair it, or set bad_frames=skip to leave it out")
    if not good:
        raise InputError(f"{tracklet.frames[0].parent} has no readable frame: every tracklet needs at least one")
    return dataclasses.replace(tracklet, frames=tuple(good))
