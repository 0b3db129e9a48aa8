"""What a gallery holds: the columns of its Parquet files and their metadata, and the check that a file has them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import given_path
from vreid_jax.json_files import json_or_none
from vreid_jax.retrieval.distances import METRICS
from vreid_jax.search.address import is_address, pyarrow
from vreid_jax.search.calibration import is_calibration
from vreid_jax.search.recording import is_moment

FORMAT = "vreid_jax-gallery-1"
KEY = b"vreid_jax"
TEXTS = ("tracklet_id", "split", "folder", "model")
NUMBERS = ("pid", "camid", "num_frames", "first_frame", "last_frame")
SECONDS = ("start_seconds", "end_seconds")
MOST_DAYS = 36_500


@dataclasses.dataclass(frozen=True)
class Gallery:
    """N embedded tracklets.

    Attributes:
      vectors: `[N, D]` float32.
      columns: every other column by its name, `[N]`: text, int64, and seconds (NaN where unknown).
      about: metadata: `fingerprint`, `model`, `metric`, `input`, `dataset` (which the model was trained on), `open_set`
        (the thresholds for this footage, or None) and `measured_on` (the footage on which the model's thresholds were
        measured, or None), `calibration` (the thresholds that `vreid calibrate` measured on the gallery itself, or None),
        `tracks` (the digest of the file of tracks along which a video was cut, or None), `recorded_at` (the moment of a video's first frame, ISO 8601 with a zone, or None) and `retention_days` (how long
        the gallery may be kept, or None). Older files have the model's thresholds, wherever they were measured, and lack
        the last five.
    """

    vectors: np.ndarray
    columns: Mapping[str, np.ndarray]
    about: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.vectors)

    def row(self, number: int) -> dict[str, Any]:
        """Return every column but the vector of one tracklet, as plain Python values."""
        return {name: values[number].item() for name, values in self.columns.items()}


def make_table(vectors: np.ndarray, columns: Mapping[str, Any], about: Mapping[str, Any]):
    """Return the Arrow table of a gallery.

    Args:
      vectors: `[N, D]` float32.
      columns: every other column by its name, `[N]`.
      about: what becomes the metadata.
    """
    pa = pyarrow()
    kinds = _kinds()
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    arrays = {name: pa.array(list(values), kinds[name]) for name, values in columns.items()}
    arrays["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.table(arrays).replace_schema_metadata(metadata(about))


def metadata(about: Mapping[str, Any]) -> dict[bytes, str]:
    """Return the metadata of a gallery's Parquet file."""
    return {KEY: json.dumps({"format": FORMAT, **about})}


def last_part(path: str | None) -> str | None:
    """Return a name without the folders before it; the name of a dataset, `walkers/small`, stays as it is."""
    if path is None:
        return None
    return Path(path).name or "/" if path.startswith(("/", "~", ".")) or path.count("/") > 1 else path


def made_from(about: Mapping[str, Any], folders: np.ndarray, path: str | Path | None = None) -> str:
    """Return what tells the input of one gallery from that of another: the name of a dataset, or a whole path.

    Older galleries state the path of their input as it was typed; one that is not whole is looked for from the folder of
    the gallery, since the same words mean another file in another folder.

    Args:
      about: metadata of the gallery.
      folders: its column `folder`, or a part of it.
      path: of the gallery; None for what was not read from a file, from the current folder.
    """
    if not any(folders) or is_address(about["input"]) or os.path.isabs(about["input"]):
        return about["input"]
    base = os.path.dirname(os.path.realpath(given_path(path))) if path else os.getcwd()
    return os.path.realpath(os.path.join(base, os.path.expanduser(about["input"])))


class Damage(Exception):
    """What a file that this library wrote cannot hold; the end of a sentence about it."""


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def check_about(schema, num_rows: int, path) -> dict[str, Any]:
    """Return the metadata of a Parquet file, checked to be that of a gallery with all columns and at least one row.

    Args:
      schema: of the file.
      num_rows: in it.
      path: of the file, for the message.

    Raises:
      InputError: when it is another file, or empty.
      Damage: when this library did not write it so.
    """
    about = json_or_none((schema.metadata or {}).get(KEY, b""))
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise InputError(f"{path} was not written by this library: make a gallery with `vreid embed`")
    for name, (accepts, words) in _ABOUT.items():
        if not accepts(about.get(name)):
            raise Damage(f"states {name}={str(about.get(name))[:100]!r}, which is not {words}")
    kinds = _kinds()
    for name in ("vector", *kinds):
        found = schema.get_all_field_indices(name)
        if len(found) != 1:
            raise Damage(f"has {'several columns' if found else 'no column'} {name}")
        kind = schema.field(found[0]).type
        if not (kind == kinds[name] if name in kinds else _is_vector(kind)):
            raise Damage(f"has the column {name} of type {kind}, not {kinds.get(name, 'fixed_size_list of float')}")
    if not num_rows:
        raise InputError(f"the gallery {path} is empty: embed something into it first")
    return about


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_optional_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_open_set(value: Any) -> bool:
    """Return whether metadata are thresholds, one for each false-accept rate, or none at all."""
    if value is None or value == {}:
        return True
    if not isinstance(value, dict) or not _is_text(value.get("protocol")):
        return False
    lists: list[Any] = [value.get(name) for name in ("false_accept_rate", "threshold", "true_accept_rate")]
    if not all(isinstance(each, list) for each in lists) or len({len(each) for each in lists}) != 1:
        return False
    rates, thresholds, accepted = lists
    return (
        _is_text(value.get("metric", ""))
        and all(map(_is_number, rates))
        and all(each is None or _is_number(each) for each in [*thresholds, *accepted])
    )


def is_retention(value: Any) -> bool:
    """Return whether a gallery may be kept for so many days: a whole number from 1 to a hundred years."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_DAYS


_ABOUT = {
    "fingerprint": (_is_text, "text"),
    "model": (_is_text, "text"),
    "input": (_is_text, "text"),
    "metric": (lambda value: value in METRICS, f"one of {', '.join(METRICS)}"),
    "dataset": (_is_optional_text, "text"),
    "measured_on": (_is_optional_text, "text"),
    "open_set": (_is_open_set, "the thresholds of a model"),
    "calibration": (is_calibration, "thresholds measured by `vreid calibrate`"),
    "tracks": (_is_optional_text, "text"),
    "recorded_at": (lambda value: value is None or is_moment(value), "a date and time with its zone"),
    "retention_days": (lambda value: value is None or is_retention(value), "a number of days"),
}


def _kinds() -> dict[str, Any]:
    """Return the Arrow type of every column but the vector."""
    pa = pyarrow()
    return {
        **dict.fromkeys(TEXTS, pa.string()),
        **dict.fromkeys(NUMBERS, pa.int64()),
        **dict.fromkeys(SECONDS, pa.float64()),
    }


def _is_vector(kind) -> bool:
    pa = pyarrow()
    return pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32() and kind.list_size > 0


def table_as_gallery(table, about: dict[str, Any]) -> Gallery:
    """Return an Arrow table as a gallery."""
    columns = {name: column_of(table, name) for name in (*TEXTS, *NUMBERS, *SECONDS)}
    first, last = columns["first_frame"], columns["last_frame"]
    backwards = (last < first) & (last != -1)  # -1: unknown
    if (backwards | (first < -1) | (last < -1) | (columns["num_frames"] < 0)).any():
        raise Damage("has a tracklet with impossible numbers of its frames")
    return Gallery(vectors_of(table.column("vector").combine_chunks()), columns, about)


def column_of(table, name: str) -> np.ndarray:
    """Return a column of an Arrow table, NaN for null."""
    column = table.column(name)
    column.validate(full=True)  # that text is UTF-8
    if column.null_count and name not in SECONDS:
        raise Damage(f"has a tracklet without {name}")
    if name in TEXTS:
        return np.array(column.to_pylist(), str)
    return column.to_numpy()


def vectors_of(array) -> np.ndarray:
    """Return an Arrow array of lists as `[n, D]`."""
    if array.null_count or array.flatten().null_count:
        raise Damage("has a tracklet without a vector")
    vectors = array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)
    if not np.isfinite(vectors).all():
        raise Damage("has a vector that is not of finite numbers")
    return vectors
