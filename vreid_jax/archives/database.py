"""A database of tracklets that grows: a Lance dataset, in a folder or an object store, which LanceDB opens as well."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.archives.batches import ROWS, batches_of
from vreid_jax.archives.question import Filters
from vreid_jax.errors import InputError
from vreid_jax.files import given_path
from vreid_jax.search.address import STORES, is_address, pyarrow
from vreid_jax.search.gallery_files import GalleryFiles, own_name, source_of
from vreid_jax.search.gallery_format import KEY, NUMBERS, SECONDS, TEXTS, first_line, vectors_of
from vreid_jax.search.unchanged import Stamp, stamps_of, unchanged

SUFFIX = ".lance"
FORMAT = "vreid_jax-database-1"
# Columns that have an index, so that a filter does not read them whole. Lance 14 cannot merge by a primary key that has one.
COLUMNS = ("camid", "begins", "ends", "tracklet_id")
FILE_ROWS = 1 << 17  # of a file: to forget one tracklet, one file is written anew
MERGED_BYTES = 16 << 20  # of vectors merged at once, of which Lance holds several copies
_ATTEMPTS = 20  # of a change that another writer was faster with
_ABOUT = ("fingerprint", "model", "metric", "dataset", "measured_on")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Pushed:
    """What `push` did.

    Attributes:
      inserted: tracklets that the database did not have.
      changed: tracklets that it had otherwise.
      unchanged: tracklets that it had as they are.
      rows: in the database afterwards.
    """

    inserted: int
    changed: int
    unchanged: int
    rows: int


class NoDatabase(InputError):
    """There is no database at an address."""


class Database:
    """An open database.

    Attributes:
      address: as a person gave it.
      dataset: of Lance.
      about: metadata, as `Gallery.about` has them; thresholds, which hold for one footage, are not among them.
    """

    def __init__(self, address: str, dataset: Any):
        """Check that a dataset is a database of this library; `InputError` where it is not."""
        self.address, self.dataset = address, dataset
        try:
            about = json.loads((dataset.schema.metadata or {}).get(KEY, b"null"))
        except ValueError:
            about = None
        if (
            not isinstance(about, dict)
            or about.get("format") != FORMAT
            or not isinstance(about.get("fingerprint"), str)
        ):
            raise InputError(f"{address} was not written by this library: make a database with `vreid push`")
        self.about: dict[str, Any] = {"input": address, "open_set": None, "calibration": None, **about}

    def __len__(self) -> int:
        return self.dataset.count_rows()

    @property
    def dimensions(self) -> int:
        """Of a vector."""
        return self.dataset.schema.field("vector").type.list_size

    @property
    def says_when(self) -> bool:
        """Whether the moment of any tracklet is known."""
        return self.count("begins IS NOT NULL OR ends IS NOT NULL") > 0

    def latest(self) -> Database:
        """Return the database as it is now, other writers' changes included."""
        self.dataset.checkout_latest()
        return self

    def batches(self, filters: Filters) -> Iterator[Any]:
        """Yield the rows that filters leave, as `batches_of` does those of files."""
        scan = {"batch_size": ROWS, "batch_readahead": 4, "fragment_readahead": 1}
        batches = self.answer(lambda: iter(self.dataset.to_batches(filter=filters.sql(), **scan)))
        while (batch := self.answer(lambda: next(batches, None))) is not None:
            yield batch

    def row(self, key: str) -> Any:
        """Return the table of the one tracklet of this name, or an empty one."""
        return self.table(filter=f"tracklet_id = {quoted(own_name(key))} AND key = {quoted(key)}")

    def table(self, **wanted: Any) -> Any:
        """Return rows as `to_table` of the dataset does."""
        return self.answer(lambda: self.dataset.to_table(**wanted))

    def count(self, condition: str) -> int:
        """Return how many rows meet a condition."""
        return self.answer(lambda: self.dataset.count_rows(filter=condition))

    def answer(self, ask: Callable[[], Any]) -> Any:
        """Return what the dataset answers; that a file of it is damaged or gone is an `InputError`."""
        try:
            return ask()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{self.address} cannot be read: {reason(error)}; try again, and if that stays so, remove it and make it "
                "anew from the galleries"
            ) from error


def is_database(text: str | os.PathLike) -> bool:
    """Return whether a path or address is that of a database: it ends in `.lance`, which no folder of Parquet files does."""
    return os.fspath(text).split("?")[0].rstrip("/").endswith(SUFFIX)


def lance():
    """Return the `lance` module.

    Raises:
      InputError: when it is not installed.
    """
    os.environ.setdefault("LANCE_LOG", "error")  # it warns of its own next versions
    os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")
    try:
        import lance  # pyright: ignore[reportMissingImports] # of the extra `search`
    except ImportError as error:
        raise InputError(
            "a database, and --approximate, need Lance: python3 -m pip install 'vreid_jax[search]'"
        ) from error
    return lance


def open_database(address: str | os.PathLike) -> Database:
    """Open a database.

    Raises:
      NoDatabase: when there is none.
      InputError: when it cannot be reached or read, or is of another program.
    """
    text = _address(address)
    try:
        return Database(text, lance().dataset(text))
    except InputError:
        raise
    except (ValueError, OSError) as error:
        if "not found" in str(error).lower():
            raise NoDatabase(f"there is no database {text}: make it with `vreid push`") from error
        raise InputError(f"{text} cannot be opened: {reason(error)}") from error


def push(files: GalleryFiles, address: str | os.PathLike, *, progress: bool = False) -> Pushed:
    """Write the tracklets of a gallery into a database, which is made if there is none.

    A tracklet is known by its video and its name there, whatever file it is in: one that the database has as it is stays
    untouched, one that has changed is replaced. Several processes may push at once, the same tracklets too.

    Args:
      files: the gallery.
      address: of the database: a path or address that ends in `.lance`.
      progress: whether to show a bar.

    Raises:
      InputError: when the database is of another model, distance or length of vector, or cannot be written, and when a
        file of the gallery changes meanwhile or has damaged rows; the rows that are written then stay.
    """
    from tqdm import tqdm

    files.refuse_doubled()
    text, database = _address(address), None
    with contextlib.suppress(NoDatabase):
        database = open_database(text)
        _check_alike(files, database)
    tables = _tables(files, _schema(files) if database is None else database.dataset.schema)
    first = next(tables, None)  # before a database is made: a gallery may be unreadable
    if database is None:
        database = _made(_schema(files), text)
        _check_alike(files, database)
    inserted = changed = 0
    with tqdm(total=len(files), disable=not progress, unit="tracklet", leave=False) as bar:
        for read, table in itertools.chain([] if first is None else [first], tables):
            with unchanged(read):
                done = _merged(database, table)
            inserted, changed = inserted + done["num_inserted_rows"], changed + done["num_updated_rows"]
            bar.update(len(table))
    database.latest()
    return Pushed(inserted, changed, len(files) - inserted - changed, len(database))


def _merged(database: Database, table) -> dict[str, int]:
    """Write the rows of a table, and return how many were inserted and updated."""
    try:
        return (
            database.latest()
            .dataset.merge_insert("key")
            .when_matched_update_all(condition="source.digest != target.digest")
            .when_not_matched_insert_all()
            .conflict_retries(_ATTEMPTS)
            .execute(table)
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise InputError(f"{database.address} cannot be written: {reason(error)}") from error


def _address(given: str | os.PathLike) -> str:
    text = os.fspath(given).rstrip("/")
    if not is_database(text):
        raise InputError(f"the name of a database ends in {SUFFIX}, and {text} does not")
    if not is_address(text):
        return str(given_path(text))
    if text.split("://")[0] not in STORES:
        raise InputError(f"{text} is an address that this library cannot open: give a path, s3://… or gs://…")
    return text.split("?")[0]


def _made(schema, text: str) -> Database:
    """Return the database that is new at an address, or that another process has just made there."""
    try:
        lance().write_dataset(schema.empty_table(), text, mode="create")
    except (ValueError, OSError) as error:
        if "exists" not in str(error):
            raise InputError(f"{text} cannot be written: {reason(error)}") from error
    return open_database(text)


def _check_alike(files: GalleryFiles, database: Database) -> None:
    about, own = files.about, database.about
    if about["fingerprint"] != own["fingerprint"]:
        raise InputError(
            f"{files.place.text} was made by model {about['fingerprint']} ({about['model']}), {database.address} by "
            f"{own['fingerprint']} ({own['model']}): vectors of different models cannot be compared; push into another "
            "database, or embed again"
        )
    for what, one, other in (
        ("the distance", about["metric"], own["metric"]),
        ("the length of a vector", files.parts[0].dimensions, database.dimensions),
    ):
        if one != other:
            raise InputError(f"{what} of {files.place.text} is {one}, and of {database.address} {other}")


def _schema(files: GalleryFiles):
    pa = pyarrow()
    # Two writers that insert one key at the same time are one of the conflicts that Lance finds if it knows of the key.
    key = pa.field("key", pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"})
    fields = [key, ("digest", pa.string()), ("input", pa.string()), ("recorded_at", pa.string())]
    fields += [(name, pa.string()) for name in TEXTS] + [(name, pa.int64()) for name in NUMBERS]
    fields += [(name, pa.float64()) for name in (*SECONDS, "begins", "ends")]
    fields += [
        ("retention_days", pa.int64()),
        ("tracks", pa.string()),
        ("vector", pa.list_(pa.float32(), files.parts[0].dimensions)),
    ]
    about = {"format": FORMAT, **{name: files.about.get(name) for name in _ABOUT}}
    return pa.schema(fields, metadata={KEY: json.dumps(about)})


def _tables(files: GalleryFiles, schema) -> Iterator[tuple[dict[Path, Stamp | None], Any]]:
    """Yield the rows of a gallery as tables of a database, none of more than `MERGED_BYTES` of vectors.

    With each comes the stamp of the file that it is of, from before that was read.
    """
    pa = pyarrow()
    for part in files.parts:
        read = stamps_of([] if part.place.is_remote else [part.place.path])
        most = max(1, MERGED_BYTES // (4 * part.dimensions))
        waiting = []
        for batch in batches_of(files, Filters(), [part]):
            for start in range(0, len(batch), most):
                piece = batch.slice(start, most)
                if sum(map(len, waiting)) + len(piece) > most:
                    yield read, _table(pa.Table.from_batches(waiting), part.about, schema)
                    waiting = []
                waiting.append(piece)
        if waiting:
            yield read, _table(pa.Table.from_batches(waiting), part.about, schema)


def _table(read, about: Mapping[str, Any], schema):
    pa = pyarrow()
    moment = about.get("recorded_at")
    start = datetime.datetime.fromisoformat(moment).timestamp() if moment else float("nan")
    vectors = vectors_of(read.column("vector").combine_chunks())
    columns = {name: read.column(name) for name in read.column_names}
    for name, seconds in (("begins", "start_seconds"), ("ends", "end_seconds")):
        moments = columns[seconds].to_numpy() + start
        columns[name] = pa.array(moments, pa.float64(), mask=np.isnan(moments))
    source = source_of(columns["input"][0].as_py(), moment)
    columns["key"] = pa.array([f"{source}/{name}" for name in columns["tracklet_id"].to_pylist()])
    columns["retention_days"] = pa.array([about.get("retention_days")] * len(read), pa.int64())
    told = [columns[name].to_pylist() for name in schema.names if name not in ("digest", "vector")]
    columns["digest"] = pa.array(
        [
            hashlib.blake2b(repr(row).encode() + vector.tobytes(), digest_size=16).hexdigest()
            for row, vector in zip(zip(*told, strict=True), vectors, strict=True)
        ]
    )
    return pa.table([columns[name] for name in schema.names], schema=schema)


def quoted(text: str) -> str:
    """Return a text as SQL has it."""
    return "'" + re.sub("'", "''", text) + "'"


def reason(error: Exception) -> str:
    """Return the first line of what Lance says, without the place in its source."""
    return re.sub(r", /\S+:\d+:\d+$", "", first_line(error))
