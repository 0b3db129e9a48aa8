"""Galleries: Parquet, one row per tracklet, with the model's fingerprint in the metadata; one file, or a folder of many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.files import atomic_file
from vreid_jax.search.address import Place, pyarrow
from vreid_jax.search.gallery_files import open_files, opened_parquet
from vreid_jax.search.gallery_format import (
    KEY,
    MOST_DAYS,
    NUMBERS,
    SECONDS,
    TEXTS,
    Gallery,
    check_about,
    is_retention,
    last_part,
    made_from,
    make_table,
    metadata,
    vectors_of,
)
from vreid_jax.search.unchanged import Stamp, gallery_stamps, unchanged

__all__ = [
    "KEY",
    "MOST_DAYS",
    "NUMBERS",
    "SECONDS",
    "TEXTS",
    "Gallery",
    "is_retention",
    "last_part",
    "made_from",
    "make_table",
    "metadata",
    "open_gallery",
    "pyarrow",
    "read_about",
    "read_column",
    "read_rows",
    "read_vectors",
    "replace_about",
]


def read_about(path: str | os.PathLike) -> dict[str, Any]:
    """Read the metadata of a gallery: a file, or a folder or address of files.

    Raises:
      InputError: when it is missing, not a gallery, damaged, or empty.
    """
    return dict(open_files(path).about)


def open_gallery(path: str | os.PathLike) -> Gallery:
    """Read a whole gallery: a file, or a folder or address of files, which `GalleryFiles.read` joins.

    Raises:
      InputError: when it is missing, not a gallery, damaged, or empty.
    """
    return open_files(path).read()


def replace_about(path: str | os.PathLike, *, read: Mapping[Path, Stamp | None] | None = None, **changes: Any) -> None:
    """Write other metadata into a gallery; its rows stay bit for bit, and readers see each file as it was, or as it is.

    Args:
      path: the gallery.
      read: `gallery_stamps` of it from before the changes were found out; default: as it is now.
      **changes: what the metadata state from then on, by name.

    Raises:
      InputError: when the gallery cannot be read or written, is not the one that was read, or another process holds it.
    """
    with unchanged(gallery_stamps(path) if read is None else read):
        for part in open_files(path).parts:
            _replace_about(part.place, changes)


def _replace_about(place: Place, changes: dict[str, Any]) -> None:
    with opened_parquet(place) as file:
        about = {
            key: value
            for key, value in check_about(file.schema_arrow, file.metadata.num_rows, place.text).items()
            if key != "format"
        }
        schema = file.schema_arrow.with_metadata(metadata({**about, **changes}))
        if place.is_remote:
            with place.filesystem.open_output_stream(place.path) as stream:  # it appears when the stream is closed
                _copy(file, stream, schema)
        else:
            with atomic_file(place.path) as half:
                _copy(file, half, schema)


def _copy(file, target, schema) -> None:
    with pyarrow().parquet.ParquetWriter(target, schema, write_page_checksum=True) as rewritten:
        for number in range(file.num_row_groups):
            group = file.read_row_group(number).replace_schema_metadata(schema.metadata)
            rewritten.write_table(group, row_group_size=max(len(group), 1))


def read_column(path: str | os.PathLike, name: str) -> np.ndarray:
    """Read one column `[N]` of a gallery, other than the vectors, without the rest of its files."""
    return open_files(path).read_column(name)


def read_rows(path: str | os.PathLike, rows: np.ndarray) -> Gallery:
    """Read some rows of a gallery, given in ascending order; only the row groups that hold them are read."""
    return open_files(path).read_rows(rows)


def read_vectors(path: str | os.PathLike, rows_at_once: int = 65536) -> Iterator[np.ndarray]:
    """Yield the vectors of a gallery in order, in blocks `[n, D]`, with one block in memory at a time."""
    for part in open_files(path).parts:
        with opened_parquet(part.place) as file:
            for batch in file.iter_batches(rows_at_once, columns=["vector"]):
                yield vectors_of(batch.column(0))
