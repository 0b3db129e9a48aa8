"""The files of a gallery: one, or all in a folder, which are checked against each other and read as one."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import check_readable, given_path
from vreid_jax.search.address import Place, open_place, pyarrow
from vreid_jax.search.gallery_format import (
    KEY,
    SECONDS,
    Damage,
    Gallery,
    check_about,
    column_of,
    first_line,
    last_part,
    table_as_gallery,
)
from vreid_jax.search.recording import zone_of

AT_ONCE = 16  # files whose metadata are read at a time, most of which is waiting for an object store
_OWN = re.compile(r"^.*?-[0-9a-f]{10}/", re.DOTALL)
_SHARED = ("fingerprint", "metric")  # what files must agree in
_KEPT = (
    "open_set",
    "calibration",
    "dataset",
    "measured_on",
    "retention_days",
)  # what a folder states if all its files do
OTHER_KIND = b"vreid_jax-identities"  # files of `vreid link`, which may lie beside galleries


@dataclasses.dataclass(frozen=True)
class Part:
    """One file of a gallery.

    Attributes:
      place: of the file.
      about: its metadata.
      rows: in it.
      dimensions: of its vectors.
    """

    place: Place
    about: Mapping[str, Any]
    rows: int
    dimensions: int

    @property
    def source(self) -> str:
        """What the names of its tracklets begin with in a folder: its input, and a digest of that and of its moment."""
        return source_of(self.about["input"], self.about.get("recorded_at"))

    @property
    def start(self) -> float | None:
        """When its video began, seconds since 1970; None where it does not say."""
        stated = self.about.get("recorded_at")
        return datetime.datetime.fromisoformat(stated).timestamp() if stated else None

    def key(self, tracklet: str) -> str:
        """Return the name that a tracklet of the file has in a folder or a database."""
        return f"{self.source}/{tracklet}"


def source_of(made_from: str, recorded_at: str | None) -> str:
    """Return what names begin with: an input, and a digest of that and of its moment."""
    digest = hashlib.sha256(f"{made_from}\0{recorded_at or ''}".encode()).hexdigest()
    return f"{last_part(made_from)}-{digest[:10]}"


def source_name(source: str) -> str:
    """Return the last part of the input that names begin with, from `source_of`, with or without the `/` behind it."""
    return source.removesuffix("/").rpartition("-")[0]


def own_name(key: str) -> str:
    """Return the name that a tracklet has in its own file, from its name in a folder; another name stays as it is."""
    return _OWN.sub("", key, count=1)


def recordings_of(gallery: Gallery) -> np.ndarray:
    """Return `[N]` text that tells the recordings in a gallery apart: its own names' beginnings; of a file it is empty."""
    if "input" not in gallery.columns:
        return np.full(len(gallery), "")
    return np.array([key[: -len(own_name(key)) - 1] for key in gallery.columns["tracklet_id"].tolist()], str)


@dataclasses.dataclass(frozen=True)
class GalleryFiles:
    """A gallery that has been looked at, not read.

    Attributes:
      place: as a person named it.
      parts: its files; of a folder sorted by name.
      is_folder: whether it is a folder, whose tracklets are named with their input.
      about: metadata, as `Gallery.about` has them. Those of a folder: of its files where all agree, else None; `input` is
        the folder itself and `recorded_at` the earliest moment, if all files have one, in their offset from UTC, or in UTC
        where they have several.
    """

    place: Place
    parts: Sequence[Part]
    is_folder: bool
    about: Mapping[str, Any]

    def __len__(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def says_when(self) -> bool:
        """Whether the moment of any tracklet is known."""
        return any(part.start is not None for part in self.parts)

    def read(self) -> Gallery:
        """Return the whole gallery.

        In a folder a tracklet is called `INPUT-DIGEST/NAME`, so that those of different videos differ, its seconds count
        from the earliest moment of the folder (NaN where its file states none, unless all files are of one input), and the
        column `input` says what it was made from.

        Raises:
          InputError: when a file is damaged, or two hold the same tracklet.
        """
        if not self.is_folder:
            with opened_parquet(self.parts[0].place) as file:
                return table_as_gallery(file.read(), dict(self.about))
        return self._joined([(part, read_part(part)) for part in self.parts])

    def read_rows(self, rows: np.ndarray) -> Gallery:
        """Return some rows, given in ascending order; only the row groups that hold them are read."""
        if not self.is_folder:
            return read_part(self.parts[0], rows)
        ends = np.cumsum([part.rows for part in self.parts])
        numbers = np.searchsorted(ends, rows, side="right")
        chosen = [(self.parts[number], number) for number in np.unique(numbers).tolist()]
        return self._joined(
            [(part, read_part(part, rows[numbers == number] - (ends[number] - part.rows))) for part, number in chosen]
        )

    def read_column(self, name: str) -> np.ndarray:
        """Return one column `[N]`, other than the vectors and the seconds, without the rest of the files."""
        found = []
        for part in self.parts:
            with opened_parquet(part.place) as file:
                values = column_of(file.read([name]), name)
            named = self.is_folder and name == "tracklet_id"
            found.append(np.array([part.key(value) for value in values.tolist()], str) if named else values)
        return np.concatenate(found)

    def refuse_doubled(self, sources: Collection[str] | None = None) -> None:
        """Raise `InputError` when two files hold the same tracklet.

        Args:
          sources: what the names of tracklets begin with that are looked at; default: all that several files have.
        """
        if sources is None:
            counts = collections.Counter(part.source for part in self.parts)
            sources = [source for source, count in counts.items() if count > 1]
        parts = [part for part in self.parts if part.source in sources]
        if parts:
            keys = dataclasses.replace(self, parts=parts, is_folder=True).read_column("tracklet_id")
            _refuse_doubled(parts, [part.rows for part in parts], keys)

    def find(self, name: str) -> tuple[Part, Gallery] | None:
        """Return the file that holds a tracklet of this name and the tracklet, or None; other files are not read."""
        for part in self.parts:
            own = name.removeprefix(f"{part.source}/") if self.is_folder else name
            if self.is_folder and own == name:
                continue
            with opened_parquet(part.place) as file:
                rows = np.flatnonzero(column_of(file.read(["tracklet_id"]), "tracklet_id") == own)
            if len(rows):
                return part, read_part(part, rows[:1])
        return None

    def offset(self, part: Part) -> float:
        """Return the second on the clock of the gallery at which the video of a part begins; NaN: not known."""
        if not self.is_folder:
            return 0.0
        if part.start is None:
            return 0.0 if len({each.about["input"] for each in self.parts}) == 1 else np.nan
        first = min(each.start for each in self.parts if each.start is not None)
        return part.start - first

    def _joined(self, read: Sequence[tuple[Part, Gallery]]) -> Gallery:
        columns = {name: np.concatenate([gallery.columns[name] for _, gallery in read]) for name in read[0][1].columns}
        keys = [part.key(name) for part, gallery in read for name in gallery.columns["tracklet_id"].tolist()]
        columns["tracklet_id"] = np.array(keys, str)
        for name in SECONDS:
            columns[name] = np.concatenate([gallery.columns[name] + self.offset(part) for part, gallery in read])
        counts = [len(gallery) for _, gallery in read]
        columns["input"] = np.repeat([part.about["input"] for part, _ in read], counts)
        _refuse_doubled([part for part, _ in read], counts, columns["tracklet_id"])
        return Gallery(np.concatenate([gallery.vectors for _, gallery in read]), columns, dict(self.about))


def read_part(part: Part, rows: np.ndarray | None = None) -> Gallery:
    """Return a file as a gallery of its own, or some rows of it."""
    with opened_parquet(part.place) as file:
        if rows is None:
            return table_as_gallery(file.read(), dict(part.about))
        starts = np.cumsum([0, *(file.metadata.row_group(n).num_rows for n in range(file.num_row_groups))])
        tables = []
        for number in np.unique(np.searchsorted(starts, rows, side="right") - 1).tolist():
            inside = rows[(rows >= starts[number]) & (rows < starts[number + 1])] - starts[number]
            tables.append(file.read_row_group(number).take(inside))
        return table_as_gallery(pyarrow().concat_tables(tables), dict(part.about))


def _refuse_doubled(parts: Sequence[Part], rows: Sequence[int], keys: np.ndarray) -> None:
    names, counts = np.unique(keys, return_counts=True)
    if (counts < 2).all():
        return
    name = names[counts > 1][0]
    ends = np.cumsum(rows)
    one, other = (parts[int(np.searchsorted(ends, row, side="right"))] for row in np.flatnonzero(keys == name)[:2])
    if one is other:
        raise InputError(f"{one.place.text} holds the tracklet {own_name(name)} twice: embed its input again")
    raise InputError(
        f"{one.place.text} and {other.place.text} both hold the tracklet {own_name(name)} of {one.about['input']}: remove "
        "one of the two files"
    )


def open_files(path: str | os.PathLike) -> GalleryFiles:
    """Look at a gallery: a file, or a folder or address of files.

    Raises:
      InputError: when there is none, a file is damaged, empty or not a gallery, or two are of different models.
    """
    place = open_place(path)
    if not place.is_folder:
        with opened_parquet(place) as file:
            part = _part(place, file)
        return GalleryFiles(place, [part], False, part.about)
    names = place.parquet_files()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        looked = list(pool.map(lambda name: _look(place.within(name)), names))
    parts = [part for part in looked if part is not None]
    if not parts:
        raise InputError(f"{place.text} is a folder without galleries: make them with `vreid embed`")
    _check_alike(parts)
    return GalleryFiles(place, parts, True, _joined_about(place, parts))


def _look(place: Place) -> Part | None:
    """Return a file of a folder, its metadata checked; None for one that is not a gallery but another file of ours."""
    with opened_parquet(place) as file:
        if OTHER_KIND in (file.schema_arrow.metadata or {}).get(KEY, b""):
            return None
        return _part(place, file)


def _part(place: Place, file) -> Part:
    schema, rows = file.schema_arrow, file.metadata.num_rows
    return Part(place, check_about(schema, rows, place.text), rows, schema.field("vector").type.list_size)


def _check_alike(parts: Sequence[Part]) -> None:
    first = parts[0]
    for part in parts[1:]:
        if part.about["fingerprint"] != first.about["fingerprint"]:
            raise InputError(
                f"{part.place.text} was made by model {part.about['fingerprint']} ({part.about['model']}), "
                f"{first.place.text} by {first.about['fingerprint']} ({first.about['model']}): vectors of different models "
                "cannot be compared; keep them in different folders, or embed one again"
            )
        for what, one, other in (
            ("the distance", part.about["metric"], first.about["metric"]),
            ("the length of a vector", part.dimensions, first.dimensions),
        ):
            if one != other:
                raise InputError(
                    f"{what} of {part.place.text} is {one}, and of {first.place.text} {other}: embed one again"
                )


def _joined_about(place: Place, parts: Sequence[Part]) -> dict[str, Any]:
    first = parts[0].about
    about: dict[str, Any] = {"format": first["format"], "model": first["model"]}
    about |= {name: first[name] for name in _SHARED}
    for name in _KEPT:
        about[name] = first.get(name) if all(part.about.get(name) == first.get(name) for part in parts) else None
    about["input"] = place.text if place.is_remote else os.path.abspath(place.path)
    moments = [part.about.get("recorded_at") for part in parts]
    about["recorded_at"] = None
    if all(moments):
        earliest = min(datetime.datetime.fromisoformat(moment) for moment in moments if moment)
        about["recorded_at"] = earliest.astimezone(zone_of(moments)).isoformat()
    return about


@contextlib.contextmanager
def opened_parquet(place: Place) -> Iterator[Any]:
    """Open a Parquet file; what is wrong with it, now or while it is read, is an `InputError`."""
    pa = pyarrow()
    damaged = (pa.ArrowException, OSError, UnicodeDecodeError)  # the last: a column's name
    source, options = place.path, {"filesystem": place.filesystem}
    if not place.is_remote:
        path = given_path(place.path)
        if not path.exists():
            raise InputError(f"there is no gallery {path}: make it with `vreid embed`")
        check_readable(path)
        source, options = path, {}
    try:
        file = pa.parquet.ParquetFile(source, page_checksum_verification=True, **options)
    except FileNotFoundError as error:
        raise InputError(f"there is no gallery {place.text}: make it with `vreid embed`") from error
    except damaged as error:
        raise InputError(f"{place.text} is not a gallery: it is not a Parquet file ({first_line(error)})") from error
    try:
        with file:
            yield file
    except Damage as error:
        raise InputError(f"the gallery {place.text} {error}: embed its input again") from error
    except damaged as error:
        raise InputError(f"{place.text} is damaged: embed its input again ({first_line(error)})") from error
