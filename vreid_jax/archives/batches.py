"""The rows of the files of a gallery as a stream of Arrow batches, filtered before they are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vreid_jax.archives.question import Filters
from vreid_jax.errors import InputError
from vreid_jax.search.address import Place, pyarrow
from vreid_jax.search.gallery_files import GalleryFiles, Part
from vreid_jax.search.gallery_format import NUMBERS, TEXTS, Damage, check_about, first_line, made_from, vectors_of

ROWS = 1 << 14  # of a batch that is read
_CAMERA = re.compile(r"(?:^|/)camera=(\d+)/")


def batches_of(files: GalleryFiles, filters: Filters, parts: Sequence[Part] | None = None) -> Iterator[Any]:
    """Yield the rows that filters leave, with the columns `input`, `recorded_at` and `tracks` of their file.

    Files in a folder `camera=N` of another camera are not opened; within a file, row groups whose extremes the filters
    exclude are not read. A few batches of `ROWS` rows are read ahead, whatever the size of the files.

    Args:
      files: the gallery.
      filters: which rows.
      parts: some of its files; default: all.

    Raises:
      InputError: when a file is damaged.
    """
    for part in files.parts if parts is None else parts:
        if _is_of_another_camera(part, files.place, filters):
            continue
        condition = filters.within(part)
        if condition is not False:
            yield from _read(part, condition, files.is_folder)


def _is_of_another_camera(part: Part, root: Place, filters: Filters) -> bool:
    named = _CAMERA.search(part.place.path[len(root.path) :])  # folders above the one that was named promise nothing
    return bool(filters.cameras and named and int(named[1]) not in filters.cameras)


def _read(part: Part, condition: Any, in_folder: bool) -> Iterator[Any]:
    pa = pyarrow()
    from pyarrow import dataset

    options = dataset.ParquetFragmentScanOptions(page_checksum_verification=True, pre_buffer=part.place.is_remote)
    form = dataset.ParquetFileFormat(default_fragment_scan_options=options)
    stated = {name: pa.scalar(part.about.get(name), pa.string()) for name in ("input", "recorded_at", "tracks")}
    try:
        fragment = form.make_fragment(part.place.path, part.place.filesystem)
        if _is_other(part, fragment.physical_schema):
            raise InputError(f"{part.place.text} was replaced while the gallery was read: give the same command again")
        scan = fragment.scanner(filter=condition, batch_size=ROWS, batch_readahead=4, fragment_readahead=1)
        for batch in scan.to_batches():
            if not len(batch):
                continue
            _check(batch)
            if not in_folder:  # older files state a path as it was typed
                folders = np.array(batch.column("folder").slice(0, 1).to_pylist(), str)
                stated["input"] = pa.scalar(made_from(part.about, folders, part.place.path), pa.string())
            for name, value in stated.items():
                batch = batch.append_column(name, pa.repeat(value, len(batch)))
            yield batch
    except Damage as error:
        raise InputError(f"the gallery {part.place.text} {error}: embed its input again") from error
    except FileNotFoundError as error:
        raise InputError(
            f"{part.place.text} was removed while the gallery was read: give the same command again"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{part.place.text} is damaged: embed its input again ({first_line(error)})") from error


def _is_other(part: Part, schema: Any) -> bool:
    """Return whether a file is no longer the one that was looked at."""
    about = check_about(schema, part.rows, part.place.text)
    return about != part.about or schema.field("vector").type.list_size != part.dimensions


def _check(batch: Any) -> None:
    """Raise `Damage` for rows that cannot be compared, while it is known which file they are from."""
    vectors_of(batch.column("vector"))
    for name in (*TEXTS, *NUMBERS):
        if batch.column(name).null_count:
            raise Damage(f"has a tracklet without {name}")
