"""Optical flow on disk: files of many tracklets, each of which holds its fields one after the other, as pictures.

A file begins with NumPy arrays, the number of fields of each tracklet and the length of each field in bytes; the fields
follow, PNG pictures `[H, 2 W]` of x beside y. A tracklet is one stretch of a file, and a few of its fields are read
without the others.
"""

# NumPy leaves the type of some results unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file

FIELDS_IN_FILE = 2048  # about; what an interruption loses, at most, for every process


@dataclasses.dataclass(frozen=True)
class FlowPart:
    """The tracklets `start` to `stop` of a split, whose flow is one file."""

    number: int
    start: int
    stop: int

    def path(self, folder: Path) -> Path:
        """Return its file."""
        return folder / f"{self.number:05d}.flow"


def flow_parts(num_frames: Int[np.ndarray, " N"]) -> list[FlowPart]:
    """Return the files of a split with tracklets of these lengths, each of about `FIELDS_IN_FILE` fields."""
    before = np.cumsum(num_fields(num_frames)) - num_fields(num_frames)
    starts = np.flatnonzero(np.diff(before // FIELDS_IN_FILE, prepend=-1))
    stops = [*starts[1:].tolist(), len(num_frames)]
    return [FlowPart(number, *rows) for number, rows in enumerate(zip(starts.tolist(), stops, strict=True))]


def num_fields(num_frames: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Return how many fields tracklets of these lengths have."""
    return np.maximum(np.asarray(num_frames) - 1, 1)


def encode_field(field: UInt8[np.ndarray, "H W 2"]) -> bytes:
    """Return a field as a PNG picture of x beside y."""
    return cv2.imencode(".png", np.concatenate([field[..., 0], field[..., 1]], axis=1))[1].tobytes()


def write_part(path: Path, tracklets: list[list[bytes]]) -> None:
    """Write the encoded fields of some tracklets as one file, completely or not at all."""
    fields = [field for encoded in tracklets for field in encoded]
    with atomic_file(path) as half, half.open("wb") as file:
        np.save(file, np.array([len(encoded) for encoded in tracklets], np.int64))
        np.save(file, np.array([len(field) for field in fields], np.int64))
        file.writelines(fields)


class FlowFiles:
    """The stored flow of a split.

    Args:
      folder: of its files.
      num_frames: `[N]` lengths of the split's tracklets.

    Raises:
      InputError: when a file is missing, or is not of these tracklets.
    """

    def __init__(self, folder: Path, num_frames: Int[np.ndarray, " N"]):
        self.folder = folder
        wanted, parts = num_fields(num_frames), flow_parts(num_frames)
        self._paths = [part.path(folder) for part in parts]
        self._part = np.repeat(np.arange(len(parts)), [part.stop - part.start for part in parts])
        self._first = np.cumsum(wanted) - wanted
        starts, lengths = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for part, path in zip(parts, self._paths, strict=True):
            counts, sizes, begin = _head(path)
            ends = begin + np.cumsum(sizes)
            if not np.array_equal(counts, wanted[part.start : part.stop]) or ends[-1] != path.stat().st_size:
                raise InputError(f"{path} is damaged: remove it and run the same command again, or `vreid data flow`")
            starts.append(ends - sizes)
            lengths.append(sizes)
        self._starts, self._lengths = np.concatenate(starts), np.concatenate(lengths)

    @property
    def num_bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for path in self._paths)

    @property
    def num_fields(self) -> int:
        """Number of all fields."""
        return len(self._starts)

    def read(self, row: int, fields: Int[np.ndarray, " N"], name: str) -> UInt8[np.ndarray, "N H W 2"]:
        """Return fields of tracklet `row`, as bytes of `optical_flow`; `name` is the tracklet's, for messages.

        Raises:
          InputError: when they cannot be read.
        """
        path = self._paths[self._part[row]]
        found: list[np.ndarray] = []
        with path.open("rb") as file:
            for at in (self._first[row] + fields).tolist():
                file.seek(int(self._starts[at]))
                encoded = file.read(int(self._lengths[at]))
                picture = _decoded(encoded)
                if picture is None:
                    raise InputError(f"{path} is damaged at {name}: remove it and run the same command again")
                height, width = picture.shape[0], picture.shape[1] // 2
                found.append(picture.reshape(height, 2, width).transpose(0, 2, 1))
        return np.stack(found)


def read_encoded(path: Path, number: int) -> list[bytes]:
    """Return the fields of a tracklet, the `number`-th of a file, as the file has them.

    Raises:
      InputError: when the file is missing or damaged, or has no such tracklet.
    """
    counts, sizes, begin = _head(path)
    if number >= len(counts):
        raise InputError(f"{path} has {len(counts)} tracklets, and none of number {number}")
    first = int(counts[:number].sum())
    ends = begin + np.cumsum(sizes)
    own = sizes[first : first + int(counts[number])]
    with path.open("rb") as file:
        file.seek(int(ends[first] - sizes[first]))
        fields = [file.read(int(size)) for size in own]
    if [len(field) for field in fields] != own.tolist() or any(_decoded(field) is None for field in fields):
        raise InputError(f"{path} is damaged: remove it and run the same command again")
    return fields


def _decoded(field: bytes) -> np.ndarray | None:
    """Return the picture of a field, uint8 [H, 2 W], None for what is not one."""
    return cv2.imdecode(np.frombuffer(field, np.uint8), cv2.IMREAD_GRAYSCALE) if field else None


def _head(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Return how many fields each tracklet of a file has, the length of each field, and where the first begins."""
    try:
        with path.open("rb") as file:
            counts, sizes = (np.load(file, allow_pickle=False) for _ in range(2))
            if counts.dtype != np.int64 or sizes.shape != (counts.sum(),):
                raise ValueError
            return counts, sizes, file.tell()
    except (OSError, ValueError, EOFError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise InputError(
            f"{path} {reason}: remove it, if it is there, and run the same command again, or `vreid data flow`"
        ) from error
