"""Gallery files: Parquet, one row per tracklet, with the model's fingerprint and calibration in the metadata."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import check_readable

FORMAT = "vreid_jax-gallery-1"
KEY = b"vreid_jax"
TEXTS = ("tracklet_id", "split", "folder", "model")
NUMBERS = ("pid", "camid", "num_frames", "first_frame", "last_frame")
SECONDS = ("start_seconds", "end_seconds")


@dataclasses.dataclass(frozen=True)
class Gallery:
    """N embedded tracklets.

    Attributes:
      vectors: `[N, D]` float32.
      columns: every other column by its name, `[N]`: text, int64, and seconds (NaN where unknown).
      about: metadata: `fingerprint`, `model`, `metric`, `input`, `dataset` (which the model was trained on), `open_set`
        (the thresholds for this footage, or None) and `measured_on` (the footage on which the model's thresholds were
        measured, or None). Older files have the model's thresholds, wherever they were measured, and lack `measured_on`.
    """

    vectors: np.ndarray
    columns: Mapping[str, np.ndarray]
    about: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.vectors)

    def row(self, number: int) -> dict[str, Any]:
        """Return every column but the vector of one tracklet, as plain Python values."""
        return {name: values[number].item() for name, values in self.columns.items()}


def pyarrow():
    """Return the `pyarrow` module with `pyarrow.parquet` imported.

    Raises:
      InputError: when it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            "galleries are Parquet files, which need pyarrow: python3 -m pip install 'vreid_jax[search]'"
        ) from error
    return pyarrow


def make_table(vectors: np.ndarray, columns: Mapping[str, Any], about: Mapping[str, Any]):
    """Return the Arrow table of a gallery.

    Args:
      vectors: `[N, D]` float32.
      columns: every other column by its name, `[N]`.
      about: what becomes the metadata.
    """
    pa = pyarrow()
    kinds = {**dict.fromkeys(TEXTS, pa.string()), **dict.fromkeys(NUMBERS, pa.int64()), **dict.fromkeys(SECONDS, pa.float64())}  # fmt: skip
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    arrays = {name: pa.array(list(values), kinds[name]) for name, values in columns.items()}
    arrays["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.table(arrays).replace_schema_metadata({KEY: json.dumps({"format": FORMAT, **about})})


def read_about(path: str | Path) -> dict[str, Any]:
    """Read the metadata of a gallery file.

    Raises:
      InputError: when the file is missing, not a gallery, damaged, or empty.
    """
    with _parquet(path) as file:
        return _about(file, path)


def open_gallery(path: str | Path) -> Gallery:
    """Read a whole gallery.

    Raises:
      InputError: when the file is missing, not a gallery, damaged, or empty.
    """
    with _parquet(path) as file:
        return _gallery(file.read(), _about(file, path))


def read_column(path: str | Path, name: str) -> np.ndarray:
    """Read one column `[N]` of a gallery, other than the vectors, without the rest of the file."""
    with _parquet(path) as file:
        _about(file, path)
        return _column(file.read([name]), name)


def read_rows(path: str | Path, rows: np.ndarray) -> Gallery:
    """Read some rows of a gallery, given in ascending order; only the row groups that hold them are read."""
    with _parquet(path) as file:
        about = _about(file, path)
        starts = np.cumsum([0, *(file.metadata.row_group(n).num_rows for n in range(file.num_row_groups))])
        parts = []
        for number in np.unique(np.searchsorted(starts, rows, side="right") - 1).tolist():
            inside = rows[(rows >= starts[number]) & (rows < starts[number + 1])] - starts[number]
            parts.append(file.read_row_group(number).take(inside))
        return _gallery(pyarrow().concat_tables(parts), about)


def _gallery(table, about: dict[str, Any]) -> Gallery:
    """Return an Arrow table as a gallery."""
    columns = {name: _column(table, name) for name in (*TEXTS, *NUMBERS, *SECONDS)}
    return Gallery(_vectors(table.column("vector").combine_chunks()), columns, about)


def _column(table, name: str) -> np.ndarray:
    """Return a column of an Arrow table, NaN for null."""
    kind = str if name in TEXTS else np.int64 if name in NUMBERS else np.float64
    return np.array([np.nan if value is None else value for value in table.column(name).to_pylist()], kind)


def read_vectors(path: str | Path, rows_at_once: int = 65536) -> Iterator[np.ndarray]:
    """Yield the vectors of a gallery in order, in blocks `[n, D]`, with one block in memory at a time."""
    with _parquet(path) as file:
        for batch in file.iter_batches(rows_at_once, columns=["vector"]):
            yield _vectors(batch.column(0))


def _vectors(array) -> np.ndarray:
    """Return an Arrow array of lists as `[n, D]`."""
    return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)


@contextlib.contextmanager
def _parquet(path: str | Path):
    """Open a Parquet file; what is wrong with it, now or while it is read, is an `InputError`."""
    pa = pyarrow()
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no gallery {path}: make it with `vreid embed`")
    check_readable(path)
    try:
        file = pa.parquet.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is not a gallery: it is not a Parquet file ({str(error).splitlines()[0]})") from error
    try:
        with file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged: embed its input again ({str(error).splitlines()[0]})") from error


def _about(file, path) -> dict[str, Any]:
    """Return the metadata of an open file, checked to be that of a gallery with all columns and at least one row."""
    try:
        about = json.loads((file.schema_arrow.metadata or {})[KEY])
    except (KeyError, ValueError):
        about = {}
    if about.get("format") != FORMAT:
        raise InputError(f"{path} was not written by this library: make a gallery with `vreid embed`")
    missing = [name for name in ("vector", *TEXTS, *NUMBERS, *SECONDS) if name not in file.schema_arrow.names]
    if missing:
        raise InputError(f"the gallery {path} has no column {missing[0]}: embed its input again")
    if not file.metadata.num_rows:
        raise InputError(f"the gallery {path} is empty: embed something into it first")
    return about
