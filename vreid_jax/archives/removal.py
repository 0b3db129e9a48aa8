"""Forget people of a database: their rows go, then the versions and indexes that held them, and its bytes are searched."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from vreid_jax.archives.database import COLUMNS, FILE_ROWS, Database, open_database, quoted, reason
from vreid_jax.errors import InputError
from vreid_jax.search.address import is_address, open_place
from vreid_jax.search.gallery_format import vectors_of

PREFIX = 64  # bytes of a vector that are looked for
_BLOCK = 1 << 24
_AT_ONCE = 500  # names in one condition
_NOW = datetime.timedelta(0)
_BEGUN = "vreid_jax.forgetting"  # a key of the database's settings, there while rows may be gone and their bytes not


@dataclasses.dataclass(frozen=True)
class Forgotten:
    """What became of a database.

    Attributes:
      database: its address.
      tracklets: names that were forgotten, or that would be.
      rows_left: in it.
      proof: what was checked afterwards.
      not_covered: where more may be.
    """

    database: str
    tracklets: list[str]
    rows_left: int
    proof: list[str]
    not_covered: list[str]


def forget(
    database: Database,
    *,
    tracklets: Sequence[str] = (),
    before: datetime.datetime | None = None,
    expired: bool = False,
    dry_run: bool = False,
) -> Forgotten:
    """Remove tracklets from a database, and prove that they are gone. A call that was killed is finished by the next one.

    The files that held them are written anew without them; so are the indexes of those files. Then every earlier version
    is removed, so that other processes that read or write one at this moment fail.

    Args:
      database: to forget in.
      tracklets: names, as a search gives them.
      before: who ended before this.
      expired: who is kept longer than the galleries they came from allowed.
      dry_run: whether to change nothing.

    Raises:
      InputError: when a name is not in the database, or it cannot be changed.
      RuntimeError: when something is still there afterwards.
    """
    if not dry_run and _BEGUN in database.dataset.config():
        with _changing(database):
            _write_anew(database)
    conditions = _conditions(database, tracklets, before, expired)
    doomed = [database.table(columns=["key", "vector"], filter=each) for each in conditions]
    names = sorted(key for table in doomed for key in table.column("key").to_pylist())
    dateless = _without_date(database, before, expired)
    if dry_run or not names:
        return Forgotten(database.address, names, len(database), [], dateless)
    with _changing(database):
        database.dataset.update_config({_BEGUN: "yes"})
        for condition in conditions:
            database.dataset.delete(condition)
        _write_anew(database)
    database = open_database(database.address)
    proof = _prove(database, conditions, doomed)
    return Forgotten(database.address, names, len(database), proof, [*dateless, *_NOT_COVERED])


@contextlib.contextmanager
def _changing(database: Database) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{database.address} cannot be changed: {reason(error)}; give the same command again"
        ) from error


def _without_date(database: Database, before: datetime.datetime | None, expired: bool) -> list[str]:
    """Return the sentence about tracklets of which it is not known whether they are meant, if there are any."""
    if before is None and not expired:
        return []
    unknown = "ends IS NULL" if before is not None else "ends IS NULL OR retention_days IS NULL"
    count = database.count(unknown)
    what = "when they ended" if before is not None else "when they ended, or how long they may be kept"
    return [f"{count} tracklets of which it is not known {what}: forget them by --tracklet"] if count else []


_NOT_COVERED = [
    "pictures, and the galleries that were pushed: forget there too, or the next push brings them back",
    "backups, versions that the object store itself keeps, and blocks that the disk has freed",
]


def _conditions(
    database: Database, tracklets: Sequence[str], before: datetime.datetime | None, expired: bool
) -> list[str]:
    if before is not None:
        return [f"ends < {before.timestamp()!r}"]
    if expired:
        return [f"ends + retention_days * 86400.0 < {datetime.datetime.now(datetime.UTC).timestamp()!r}"]
    missing = [name for name in tracklets if not len(database.row(name))]
    if missing:
        raise InputError(f"{missing[0]} is not a tracklet of {database.address}")
    return [
        f"key IN ({', '.join(map(quoted, tracklets[start : start + _AT_ONCE]))})"
        for start in range(0, len(tracklets), _AT_ONCE)
    ]


def _write_anew(database: Database) -> None:
    """Write files anew that hold deleted rows, and the indexes; remove all versions before."""
    dataset = database.latest().dataset
    dataset.optimize.compact_files(
        target_rows_per_fragment=FILE_ROWS, materialize_deletions=True, materialize_deletions_threshold=0.0
    )
    indexed = {field for each in dataset.describe_indices() for field in each.field_names}
    for name in COLUMNS:
        if name in indexed:  # an index of texts and numbers holds the values of rows that are gone
            dataset.create_scalar_index(name, "BTREE", replace=True)
    dataset.optimize.optimize_indices()
    dataset.cleanup_old_versions(older_than=_NOW, delete_unverified=True)
    if _BEGUN in dataset.config():
        dataset.delete_config_keys([_BEGUN])
        dataset.cleanup_old_versions(older_than=_NOW, delete_unverified=True)


def _prove(database: Database, conditions: Sequence[str], doomed: Sequence[Any]) -> list[str]:
    if any(database.dataset.count_rows(filter=condition) for condition in conditions):
        raise RuntimeError("not everything is gone: a row is still there; give the same command again")
    versions = len(database.dataset.versions())
    if versions != 1:
        raise RuntimeError(
            f"not everything is gone: {versions - 1} earlier versions are there; give the same command again"
        )
    vectors = {
        vector.tobytes()[:PREFIX]: key
        for table in doomed
        for key, vector in zip(
            table.column("key").to_pylist(), vectors_of(table.column("vector").combine_chunks()), strict=True
        )
    }
    names = {key.encode(): key for table in doomed for key in table.column("key").to_pylist()}
    staying = _staying(database, vectors, names)
    sought = {place: key for place, key in {**vectors, **names}.items() if place not in staying}
    files = 0
    for name, content in _contents(database):
        for place, key in sought.items():
            if place in content:
                raise RuntimeError(f"not everything is gone: {name} holds bytes of {key}; give the same command again")
        files += 1
    proof = [
        f"none of the {len(database)} tracklets has their names or vectors",
        "no earlier version is kept",
        f"none of the {files} blocks of its files holds the bytes of their vectors or names",
    ]
    if hidden := sum(name in staying for name in names):
        proof[-1] += f", but for {hidden} of these names, whose bytes are in names that stay"
    return proof


def _staying(database: Database, vectors: Collection[bytes], names: Collection[bytes]) -> set[bytes]:
    """Return the bytes of vectors and names that those of tracklets which stay have in them too: these prove nothing.

    Names stand one behind the other in a file, so that the end of one and the beginning of the next may be a third.
    """
    found: set[bytes] = set()
    longest, tail = max(map(len, names)), b""
    for batch in database.dataset.to_batches(columns=["key", "vector"]):
        for vector in vectors_of(batch.column("vector")):
            if (begin := vector.tobytes()[:PREFIX]) in vectors:
                found.add(begin)
        together = tail + "".join(batch.column("key").to_pylist()).encode()
        found |= {name for name in names if name in together}
        tail = together[-longest:]
    return found


def _contents(database: Database) -> Iterator[tuple[str, bytes]]:
    """Yield the content of every file of a database, in blocks that overlap."""
    if is_address(database.address):
        from pyarrow import fs

        place = open_place(database.address)
        selected = place.filesystem.get_file_info(fs.FileSelector(place.path, recursive=True))
        opened = ((info.path, place.filesystem.open_input_stream(info.path)) for info in selected if info.is_file)
    else:
        opened = ((str(path), path.open("rb")) for path in Path(database.address).rglob("*") if path.is_file())
    for name, stream in opened:
        with stream:
            tail = b""
            while block := stream.read(_BLOCK):
                yield name, tail + block
                tail = block[-4096:]
