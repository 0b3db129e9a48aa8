"""Random access to the tracklets of a prepared dataset, decoding only the requested frames."""

# TensorFlow Datasets has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import contextlib
import hashlib
import threading
import zipfile
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int, UInt8
from tqdm import tqdm

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file


def decode_frames(encoded: Sequence[bytes], name: str) -> UInt8[np.ndarray, "T H W 3"]:
    """Decode JPEG or PNG bytes to `[T, H, W, 3]` uint8 RGB; frames of another size than the first are resized to it.

    Args:
      encoded: at least one frame.
      name: of the tracklet, for messages.

    Raises:
      InputError: for a frame that is not a readable picture.
    """
    frames: np.ndarray = np.empty((0, 0, 0, 3), np.uint8)
    for number, data in enumerate(encoded):
        try:
            frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
        except cv2.error:  # it states a size that OpenCV refuses
            frame = None
        if frame is None:
            raise InputError(f"{name}: a frame is not a readable JPEG or PNG; rebuild the dataset without it")
        if not number:
            frames = np.empty((len(encoded), *frame.shape), np.uint8)
        elif frame.shape != frames.shape[1:]:
            _, height, width, _ = frames.shape
            frame = cv2.resize(frame, (width, height))
        frames[number] = frame
    return frames


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


class TrackletSource:
    """The tracklets of one split of a prepared dataset; the attributes are those of `Tracklets`.

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
        self._parsing = threading.Lock()
        self._last_parsed: tuple[int, Sequence[bytes]] = (-1, ())
        self._read_index(builder.data_path / f"index-{split}.npz", progress)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a process that reads needs, which has a lock of its own."""
        return {**self.__dict__, "_parsing": None, "_last_parsed": (-1, ())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__` gives."""
        self.__dict__.update(state, _parsing=threading.Lock())

    def _read_index(self, path: Any, progress: bool) -> None:
        """Read identities, cameras, names and lengths from the index file, which is written on the first call."""
        try:
            with path.open("rb") as file, np.load(file) as table:
                index = dict(table)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # missing, or truncated by a full disk
            index: dict[str, Any] = self._scan(progress)
            # Makes the next start instant. Written atomically, since other processes may read it meanwhile. Without it
            # everything works too, so a read-only dataset folder is not an error.
            with contextlib.suppress(InputError), atomic_file(path) as half, half.open("wb") as file:
                np.savez(file, **index)
        self.pids, self.camids = index["pids"], index["camids"]
        self.tracklet_ids, self.num_frames = index["tracklet_ids"], index["num_frames"]

    def digest(self) -> str:
        """Return 16 hexadecimal digits that identify the tracklets: names, identities, cameras and lengths, in order."""
        columns = (self.tracklet_ids, self.pids, self.camids, self.num_frames)
        return hashlib.sha256(repr([column.tolist() for column in columns]).encode()).hexdigest()[:16]

    def _scan(self, progress: bool) -> dict[str, np.ndarray]:
        """Read the index from all records."""
        rows = tqdm(range(len(self)), f"indexing {self.split}", unit="tracklet", disable=not progress, leave=False)
        records = [self._describe(self._parser.parse_example(self._records[row])) for row in rows]
        return {
            "pids": np.array([record["pid"] for record in records], np.int64),
            "camids": np.array([record["camid"] for record in records], np.int64),
            "tracklet_ids": np.array([record["tracklet_id"].decode() for record in records], np.str_),
            "num_frames": np.array([record["num_frames"] for record in records], np.int64),
        }

    @staticmethod
    def _describe(example: dict[str, Any]) -> dict[str, Any]:
        return {
            "pid": int(example["pid"]),
            "camid": int(example["camid"]),
            "tracklet_id": bytes(example["tracklet_id"]),
            "num_frames": len(example["frames"]),
        }

    def _encoded(self, row: int, numbers: Int[np.ndarray, " N"]) -> list[bytes]:
        """Return the encoded frames of a tracklet."""
        # Pieces of a long tracklet are read one after another, so the last parsed record is kept. One thread parses at a
        # time: parsing holds the interpreter lock anyway, and parallel parsing would hold many copies of long records.
        last, frames = self._last_parsed
        if last != row:
            record = self._records[row]
            with self._parsing:
                last, frames = self._last_parsed
                if last != row:
                    frames = self._parser.parse_example(record)["frames"]
                    self._last_parsed = (row, frames)
        return [frames[number] for number in numbers]

    def __len__(self) -> int:
        return len(self._records)

    def read(self, row: int, frame_numbers: Int[np.ndarray, "..."]) -> UInt8[np.ndarray, "... H W 3"]:
        """Decode frames of tracklet `row`, each once, into `frame_numbers.shape + [H, W, 3]`, uint8 RGB."""
        unique, where = np.unique(frame_numbers, return_inverse=True)
        name = f"{self.split}/{self.tracklet_ids[row]}"
        frames = decode_frames(self._encoded(row, unique), name)
        in_order = len(unique) == frame_numbers.size and bool((np.diff(where.reshape(-1)) > 0).all())
        if in_order:  # nothing to copy
            return frames.reshape(*frame_numbers.shape, *frames.shape[1:])
        return frames[where.reshape(frame_numbers.shape)]


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
