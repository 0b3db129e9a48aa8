"""Random access to the tracklets of a built dataset, decoding only the frames that are asked for."""

import contextlib
import hashlib
import threading
import zipfile
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int, UInt8
from tqdm import tqdm

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file


def decode_frames(encoded: Sequence[bytes], name: str) -> UInt8[np.ndarray, "T H W 3"]:
    """Decode JPEG or PNG bytes to `[T, H, W, 3]` uint8 RGB; frames of another size than the first are resized to it.

    Raises:
      InputError: for a frame that is no readable picture, naming `name`.
    """
    frames = None
    for number, data in enumerate(encoded):
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
        if frame is None:
            raise InputError(f"{name}: a frame is no readable JPEG or PNG; rebuild the dataset without it")
        if frames is None:
            frames = np.empty((len(encoded), *frame.shape), np.uint8)
        elif frame.shape != frames.shape[1:]:
            frame = cv2.resize(frame, frames.shape[2:0:-1])
        frames[number] = frame
    return frames


@runtime_checkable
class Tracklets(Protocol):
    """N tracklets by number, wherever they lie: what the evaluation reads.

    `pids`, `camids`, `num_frames` are int64 `[N]`, `tracklet_ids` texts `[N]`.
    """

    pids: np.ndarray
    camids: np.ndarray
    tracklet_ids: np.ndarray
    num_frames: np.ndarray

    def __len__(self) -> int: ...

    def read(self, row: int, frame_numbers: np.ndarray) -> np.ndarray:
        """Decode the named frames of tracklet `row`: `frame_numbers.shape + [H, W, 3]` uint8 RGB."""
        ...


class TrackletSource:
    """The tracklets of one split, by number.

    Attributes:
      pids: `[N]` int64 identities (0 distractor, -1 junk).
      camids: `[N]` int64 cameras.
      tracklet_ids: `[N]` text, unique within a split.
      num_frames: `[N]` int64.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str, progress: bool = False):
        # The undecoded record is parsed by TFDS's NumPy parser: its decoding readers import TensorFlow.
        self._records = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        self._parser = tfds.core.example_parser.ExampleParserNp(builder.info.features.get_serialized_info())
        self.split = split
        self._parsing, self._held = threading.Lock(), (-1, None)
        self._read_index(builder.data_path / f"index-{split}.npz", progress)

    def _read_index(self, path, progress: bool) -> None:
        try:
            with path.open("rb") as file, np.load(file) as table:
                index = dict(table)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # not there, or cut short by a full disk
            index = self._scan(progress)
            # The next start is then instant. In one piece, since others may read it meanwhile or this process be killed.
            # A read-only dataset folder is no error.
            with contextlib.suppress(InputError), atomic_file(path) as half, half.open("wb") as file:
                np.savez(file, **index)
        self.pids, self.camids = index["pids"], index["camids"]
        self.tracklet_ids, self.num_frames = index["tracklet_ids"], index["num_frames"]

    def digest(self) -> str:
        """16 hexadecimal digits of its tracklets: their names, persons, cameras and lengths, in their order."""
        columns = (self.tracklet_ids, self.pids, self.camids, self.num_frames)
        return hashlib.sha256(repr([column.tolist() for column in columns]).encode()).hexdigest()[:16]

    def _scan(self, progress: bool) -> dict[str, np.ndarray]:
        rows = tqdm(range(len(self)), f"indexing {self.split}", unit="tracklet", disable=not progress, leave=False)
        records = [self._record(row) for row in rows]
        return {
            "pids": np.array([record["pid"] for record in records], np.int64),
            "camids": np.array([record["camid"] for record in records], np.int64),
            "tracklet_ids": np.array([record["tracklet_id"].decode() for record in records], np.str_),
            "num_frames": np.array([record["num_frames"] for record in records], np.int64),
        }

    def _record(self, row: int) -> dict:
        example = self._parse(row)
        return {
            "pid": int(example["pid"]),
            "camid": int(example["camid"]),
            "tracklet_id": bytes(example["tracklet_id"]),
            "num_frames": len(example["frames"]),
        }

    def _parse(self, row: int) -> dict:
        return self._parser.parse_example(self._records[row])

    def _encoded(self, row: int, numbers: Int[np.ndarray, " N"]) -> list[bytes]:
        # The pieces of a long tracklet follow each other, so the last one is held. One thread parses at a time:
        # parsing holds the interpreter anyway, and all at once would hold many copies of long records.
        held, frames = self._held
        if held != row:
            record = self._records[row]
            with self._parsing:
                held, frames = self._held
                if held != row:
                    frames = self._parser.parse_example(record)["frames"]
                    self._held = (row, frames)
        return [frames[number] for number in numbers]

    def __len__(self) -> int:
        return len(self._records)

    def read(self, row: int, frame_numbers: Int[np.ndarray, "..."]) -> UInt8[np.ndarray, "... H W 3"]:
        """Decode the named frames of tracklet `row`, each once: `frame_numbers.shape + [H, W, 3]` uint8 RGB."""
        unique, where = np.unique(frame_numbers, return_inverse=True)
        name = f"{self.split}/{self.tracklet_ids[row]}"
        frames = decode_frames(self._encoded(row, unique), name)
        if (
            len(unique) == frame_numbers.size and (np.diff(where.reshape(-1)) > 0).all()
        ):  # already as asked for: no copy
            return frames.reshape(*frame_numbers.shape, *frames.shape[1:])
        return frames[where.reshape(frame_numbers.shape)]


class JoinedSource:
    """Chosen tracklets of several splits as one source, e.g. the distinct tracklets of query and gallery.

    Args:
      sources: the splits, in order.
      rows: `[N]` numbers into their concatenation.
    """

    def __init__(self, sources: Sequence[Tracklets], rows: Int[np.ndarray, " N"]):
        starts = np.cumsum([0, *(len(source) for source in sources)])
        which = np.searchsorted(starts, rows, side="right") - 1
        self._sources, self._where = sources, list(zip(which.tolist(), (rows - starts[which]).tolist(), strict=True))
        for name in ("pids", "camids", "tracklet_ids", "num_frames"):
            setattr(self, name, np.concatenate([getattr(source, name) for source in sources])[rows])

    def __len__(self) -> int:
        return len(self._where)

    def read(self, row: int, frame_numbers: Int[np.ndarray, "..."]) -> UInt8[np.ndarray, "... H W 3"]:
        """Decode the named frames of tracklet `row`, as `TrackletSource.read`."""
        which, own = self._where[row]
        return self._sources[which].read(own, frame_numbers)
