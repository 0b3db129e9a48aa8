"""Random access to the tracklets of a prepared dataset, decoding only the requested frames."""

# TensorFlow Datasets has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import contextlib
import copy
import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int, UInt8
from tqdm import tqdm

from vreid_jax.data.flow_files import FlowFiles
from vreid_jax.data.records import frame_positions, take_frames
from vreid_jax.data.resizing import resize
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file


def decode_frames(encoded: Sequence[bytes], name: str) -> UInt8[np.ndarray, "T H W 3"]:
    """Decode JPEG or PNG bytes to `[T, H, W, 3]` uint8 RGB.

    Frames of several sizes, as boxes of a person have them, are resized to the median height and the median width: a first
    box that is cut off by the border of the picture does not make all others as narrow.

    Args:
      encoded: at least one frame.
      name: of the tracklet, for messages.

    Raises:
      InputError: for a frame that is not a readable picture.
    """
    frames: list[np.ndarray] = []
    for data in encoded:
        try:
            frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
        except cv2.error:  # it states a size that OpenCV refuses
            frame = None
        if frame is None:
            raise InputError(f"{name}: a frame is not a readable JPEG or PNG; rebuild the dataset without it")
        frames.append(frame)
    heights, widths = (sorted(frame.shape[axis] for frame in frames) for axis in (0, 1))
    height, width = heights[len(frames) // 2], widths[len(frames) // 2]
    return np.concatenate([resize(frame[None], height, width) for frame in frames])


@runtime_checkable
class Tracklets(Protocol):
    """N tracklets by number, from whatever storage: what the evaluation reads.

    Attributes:
      pids: `[N]` int64 identities (0 distractor, -1 junk).
      camids: `[N]` int64 cameras.
      tracklet_ids: `[N]` str, unique within a split.
      num_frames: `[N]` int64.
    """

    pids: np.ndarray
    camids: np.ndarray
    tracklet_ids: np.ndarray
    num_frames: np.ndarray

    def __len__(self) -> int: ...

    def read(self, row: int, frame_numbers: np.ndarray) -> np.ndarray:
        """Decode frames of tracklet `row` into an array of shape `frame_numbers.shape + [H, W, 3]`, uint8 RGB."""
        ...


@runtime_checkable
class HasFlow(Protocol):
    """Tracklets whose optical flow may be stored."""

    def read_flow(self, row: int, fields: np.ndarray) -> np.ndarray | None:
        """Return fields of tracklet `row`, `[N, H, W, 2]` bytes of `optical_flow`; None where none are stored."""
        ...


# Of the index of a split: `positions` are those of `frame_positions` for all tracklets, `files` the sizes of the files of
# records, of which the index must be.
COLUMNS = {"pids", "camids", "tracklet_ids", "num_frames", "positions", "files"}


def check_split(builder: Any, split: str) -> None:
    """Raise `InputError` where a prepared dataset does not have a split; of a folder of tracklets that may be `train`."""
    if split not in (known := builder.info.splits):
        root = (builder.info.metadata or {}).get("path")
        missing = f"{Path(root) / split} is missing, so the dataset" if root else f"dataset {builder.info.full_name}"
        raise InputError(f"{missing} has no split {split!r}; it has {', '.join(known)}")


class TrackletSource:
    """The tracklets of one split of a prepared dataset; the attributes are those of `Tracklets`, and a few more.

    Attributes:
      split: its name.
      folder: of the dataset.
      files: its records.
      flow: its stored optical flow, where somebody has set it.

    Args:
      builder: of the dataset.
      split: its name.
      progress: whether to show the progress of indexing, which happens once per split.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str, progress: bool = False):
        # Records are read undecoded and parsed by TFDS's NumPy parser: its decoding readers import TensorFlow.
        tfds_core: Any = tfds.core
        untyped: Any = builder
        self._records = untyped.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        self._parser = tfds_core.example_parser.ExampleParserNp(untyped.info.features.get_serialized_info())
        self.split = split
        self.folder = Path(builder.data_path)
        self.files = [Path(file) for file in untyped.info.splits[split].filepaths]
        self.flow: FlowFiles | None = None
        self._files = np.array([file.stat().st_size for file in self.files])
        self._read_index(builder.data_path / f"index-{split}.npz", progress)

    def _read_index(self, path: Any, progress: bool) -> None:
        """Read identities, cameras, names, and where the frames are, from the index file; the first call writes it."""
        index: dict[str, Any] = {}
        # Missing, truncated by a full disk, or of other columns.
        unreadable = contextlib.suppress(OSError, ValueError, EOFError, zipfile.BadZipFile)
        with unreadable, path.open("rb") as file, np.load(file) as table:
            index = dict(table)
        if index.keys() != COLUMNS or not np.array_equal(index["files"], self._files):
            index = self._scan(progress)
            # Makes the next start instant. Written atomically, since other processes may read it meanwhile. Without it
            # everything works too, so a read-only dataset folder is not an error.
            with contextlib.suppress(InputError), atomic_file(path) as half, half.open("wb") as file:
                np.savez(file, **index)
        self.pids, self.camids = index["pids"], index["camids"]
        self.tracklet_ids, self.num_frames = index["tracklet_ids"], index["num_frames"]
        self._first_frame = np.cumsum(self.num_frames) - self.num_frames
        self._positions = index["positions"]

    def part(self, rows: Int[np.ndarray, " N"], split: str) -> "TrackletSource":
        """Return the tracklets of these rows as a split of their own, without optical flow."""
        part = copy.copy(self)
        part.split, part.flow = split, None
        part._records = _Records(self._records, rows)
        for name in ("pids", "camids", "tracklet_ids", "num_frames", "_first_frame"):
            setattr(part, name, getattr(self, name)[rows])
        return part

    def digest(self) -> str:
        """Return 16 hexadecimal digits that identify the tracklets: names, identities, cameras and lengths, in order."""
        columns = (self.tracklet_ids, self.pids, self.camids, self.num_frames)
        return hashlib.sha256(repr([column.tolist() for column in columns]).encode()).hexdigest()[:16]

    def content_digest(self) -> str:
        """Return 64 hexadecimal digits that change with any record of the split, of which these may be a part.

        They are kept beside the records, and computed again for files of another size or time.
        """
        stamps = [[file.name, (found := file.stat()).st_size, found.st_mtime_ns] for file in self.files]
        kept = self.folder / f"content-{self.split}.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            stored = json.loads(kept.read_text())
            if stored["files"] == stamps:
                return str(stored["sha256"])
        digest = hashlib.sha256()
        for file in self.files:
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        # A folder that cannot be written to costs this time at every start.
        with contextlib.suppress(InputError), atomic_file(kept) as half:
            half.write_text(json.dumps({"files": stamps, "sha256": digest.hexdigest()}))
        return digest.hexdigest()

    def _scan(self, progress: bool) -> dict[str, np.ndarray]:
        """Read the index from all records."""
        rows = tqdm(range(len(self)), f"indexing {self.split}", unit="tracklet", disable=not progress, leave=False)
        records, positions = [], [np.zeros((0, 2), np.int64)]
        for row in rows:
            record = self._records[row]
            example = self._parser.parse_example(record)
            records.append((int(example["pid"]), int(example["camid"]), bytes(example["tracklet_id"]).decode()))
            positions.append(frame_positions(record))
        pids, camids, names = zip(*records, strict=True) if records else ((), (), ())
        return {
            "pids": np.array(pids, np.int64),
            "camids": np.array(camids, np.int64),
            "tracklet_ids": np.array(names, np.str_),
            "num_frames": np.array([len(found) for found in positions[1:]], np.int64),
            "positions": np.concatenate(positions),
            "files": self._files,
        }

    def encoded(self, row: int, numbers: Int[np.ndarray, " N"]) -> list[bytes]:
        """Return frames of tracklet `row` as they are stored, encoded, without parsing the others."""
        return take_frames(self._records[row], self._positions[self._first_frame[row] + numbers])

    def __len__(self) -> int:
        return len(self._records)

    def read(self, row: int, frame_numbers: Int[np.ndarray, "..."]) -> UInt8[np.ndarray, "... H W 3"]:
        """Decode frames of tracklet `row`, each once, into `frame_numbers.shape + [H, W, 3]`, uint8 RGB."""
        unique, where = np.unique(frame_numbers, return_inverse=True)
        name = f"{self.split}/{self.tracklet_ids[row]}"
        frames = decode_frames(self.encoded(row, unique), name)
        in_order = len(unique) == frame_numbers.size and bool((np.diff(where.reshape(-1)) > 0).all())
        if in_order:  # nothing to copy
            return frames.reshape(*frame_numbers.shape, *frames.shape[1:])
        return frames[where.reshape(frame_numbers.shape)]

    def read_flow(self, row: int, fields: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W 2"] | None:
        """Return fields of the optical flow of tracklet `row`, None where no flow is stored."""
        return None if self.flow is None else self.flow.read(row, fields, f"{self.split}/{self.tracklet_ids[row]}")


class _Records:
    """Some of the records of a split."""

    def __init__(self, records: Any, rows: Int[np.ndarray, " N"]):
        self._records, self._rows = records, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Any:
        return self._records[int(self._rows[row])]


class JoinedSource:
    """Selected tracklets of several splits as one source, such as the distinct tracklets of query and gallery.

    The attributes are those of `Tracklets`.

    Args:
      sources: the splits, in order.
      rows: `[N]` row numbers in their concatenation.
    """

    pids: np.ndarray
    camids: np.ndarray
    tracklet_ids: np.ndarray
    num_frames: np.ndarray

    def __init__(self, sources: Sequence[Tracklets], rows: Int[np.ndarray, " N"]):
        starts = np.cumsum([0, *(len(source) for source in sources)])
        which = np.searchsorted(starts, rows, side="right") - 1
        self._sources = sources
        self._positions: list[tuple[int, int]] = list(zip(which.tolist(), (rows - starts[which]).tolist(), strict=True))
        for name in ("pids", "camids", "tracklet_ids", "num_frames"):
            setattr(self, name, np.concatenate([getattr(source, name) for source in sources])[rows])

    def __len__(self) -> int:
        return len(self._positions)

    def read(self, row: int, frame_numbers: Int[np.ndarray, "..."]) -> UInt8[np.ndarray, "... H W 3"]:
        """Decode frames of tracklet `row`, as `TrackletSource.read`."""
        which, own_row = self._positions[row]
        return self._sources[which].read(own_row, frame_numbers)

    def read_flow(self, row: int, fields: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W 2"] | None:
        """Return fields of the optical flow of tracklet `row`, None where no flow is stored."""
        which, own_row = self._positions[row]
        source = self._sources[which]
        return source.read_flow(own_row, fields) if isinstance(source, HasFlow) else None
