"""The file of a gallery: Parquet, one row a tracklet, with the model's fingerprint and calibration in its metadata."""

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
      columns: every other column by its name, `[N]`: texts, int64, and seconds (NaN where unknown).
      about: `fingerprint`, `model`, `metric`, `input`, `open_set`, the thresholds of its model or None, and `dataset`,
        which they were measured on; of older files not.
    """

    vectors: np.ndarray
    columns: Mapping[str, np.ndarray]
    about: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.vectors)

    def row(self, number: int) -> dict[str, Any]:
        """Everything but the vector of one tracklet, as plain Python values."""
        return {name: values[number].item() for name, values in self.columns.items()}


def pyarrow():
    """The module, or an `InputError` that says how to get it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("galleries are Parquet files: python3 -m pip install 'vreid_jax[search]'") from error
    return pyarrow


def make_table(vectors: np.ndarray, columns: Mapping[str, Any], about: Mapping[str, Any]):
    """An Arrow table of `vectors` [N, D] float32 and `columns` [N]; `about` becomes its metadata."""
    pa = pyarrow()
    kinds = {**dict.fromkeys(TEXTS, pa.string()), **dict.fromkeys(NUMBERS, pa.int64()), **dict.fromkeys(SECONDS, pa.float64())}  # fmt: skip
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    arrays = {name: pa.array(list(values), kinds[name]) for name, values in columns.items()}
    arrays["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.table(arrays).replace_schema_metadata({KEY: json.dumps({"format": FORMAT, **about})})


def read_about(path: str | Path) -> dict[str, Any]:
    """The metadata of a gallery file; `InputError` for a file that is none, or an empty one."""
    with _parquet(path) as file:
        return _about(file, path)


def open_gallery(path: str | Path) -> Gallery:
    """Read a whole gallery.

    Raises:
      InputError: when the file is not there, no gallery, damaged, or empty.
    """
    with _parquet(path) as file:
        return _gallery(file.read(), _about(file, path))


def read_column(path: str | Path, name: str) -> np.ndarray:
    """One column `[N]` of a gallery other than the vectors; the rest of the file is not read."""
    with _parquet(path) as file:
        _about(file, path)
        return _column(file.read([name]), name)


def read_rows(path: str | Path, rows: np.ndarray) -> Gallery:
    """The gallery of some rows, ascending; only the row groups that hold them are read."""
    with _parquet(path) as file:
        about = _about(file, path)
        starts = np.cumsum([0, *(file.metadata.row_group(n).num_rows for n in range(file.num_row_groups))])
        parts = []
        for number in np.unique(np.searchsorted(starts, rows, side="right") - 1).tolist():
            inside = rows[(rows >= starts[number]) & (rows < starts[number + 1])] - starts[number]
            parts.append(file.read_row_group(number).take(inside))
        return _gallery(pyarrow().concat_tables(parts), about)


def _gallery(table, about: dict[str, Any]) -> Gallery:
    columns = {name: _column(table, name) for name in (*TEXTS, *NUMBERS, *SECONDS)}
    return Gallery(_vectors(table.column("vector").combine_chunks()), columns, about)


def _column(table, name: str) -> np.ndarray:
    kind = str if name in TEXTS else np.int64 if name in NUMBERS else np.float64
    return np.array([np.nan if value is None else value for value in table.column(name).to_pylist()], kind)


def read_vectors(path: str | Path, rows_at_once: int = 65536) -> Iterator[np.ndarray]:
    """The vectors of a gallery in blocks `[n, D]`, in order, never more than one block in memory."""
    with _parquet(path) as file:
        for batch in file.iter_batches(rows_at_once, columns=["vector"]):
            yield _vectors(batch.column(0))


def _vectors(array) -> np.ndarray:
    return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)


@contextlib.contextmanager
def _parquet(path: str | Path):
    pa = pyarrow()
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no gallery {path}: make it with `vreid embed`")
    check_readable(path)
    try:
        file = pa.parquet.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is no gallery: it is no Parquet file ({str(error).splitlines()[0]})") from error
    try:
        with file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged: embed its input again ({str(error).splitlines()[0]})") from error


def _about(file, path) -> dict[str, Any]:
    try:
        about = json.loads((file.schema_arrow.metadata or {})[KEY])
    except (KeyError, ValueError):
        about = {}
    if about.get("format") != FORMAT:
        raise InputError(f"{path} is no gallery of this library: make it with `vreid embed`")
    missing = [name for name in ("vector", *TEXTS, *NUMBERS, *SECONDS) if name not in file.schema_arrow.names]
    if missing:
        raise InputError(f"the gallery {path} has no column {missing[0]}: embed its input again")
    if not file.metadata.num_rows:
        raise InputError(f"the gallery {path} is empty: embed something into it first")
    return about
