"""The manifest of an archive: a table of videos, each with its camera, its start and, where there are any, its tracks."""

import csv
import dataclasses
import datetime
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vreid_jax.datasets.tracklet_folder.layout import LARGEST
from vreid_jax.errors import InputError
from vreid_jax.files import check_readable, given_path, read_regular
from vreid_jax.search.address import check_address, is_address, pyarrow
from vreid_jax.search.recording import moment_text

REQUIRED = ("video", "camera", "start")
COLUMNS = (*REQUIRED, "tracks")


@dataclasses.dataclass(frozen=True)
class Video:
    """A row of a manifest.

    Attributes:
      address: of the video: an absolute path, or `s3://…` or `gs://…`.
      camera: number of the camera, from 0 (unknown).
      start: the moment of its first frame, ISO 8601 with a zone.
      tracks: address of its tracks, MOTChallenge text; empty where it is to be tracked.
    """

    address: str
    camera: int
    start: str
    tracks: str = ""

    @property
    def date(self) -> str:
        """The day of its first frame in UTC, `2026-03-02`."""
        return datetime.datetime.fromisoformat(self.start).astimezone(datetime.UTC).date().isoformat()


def read_manifest(path: str | os.PathLike) -> list[Video]:
    """Read a manifest, Parquet (by its suffix) or CSV with a line of names.

    Columns are `video`, `camera`, `start` (ISO 8601 with a zone, or seconds since 1970) and, if wanted, `tracks`, empty for
    a video without. A path that is not absolute is looked for from the folder of the manifest.

    Raises:
      InputError: naming file, line (of Parquet: row, from 1) and column of what is wrong.
    """
    file = given_path(path)
    if not file.exists():
        raise InputError(f"there is no manifest {file}: write a table of {', '.join(REQUIRED)}, CSV or Parquet")
    names, rows = _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file)
    _check_names(names, file)
    folder = Path(os.path.abspath(file)).parent
    videos: list[Video] = []
    lines: dict[str, str] = {}
    for where, row in rows:
        video = _video(dict(zip(names, row, strict=True)), f"{file}, {where}", folder)
        if video.address in lines:
            raise InputError(
                f"{file}, {where}, video: {video.address} stands in {lines[video.address]} already: remove one"
            )
        lines[video.address] = where
        videos.append(video)
    if not videos:
        raise InputError(f"{file} lists no videos: give each a line, {','.join(REQUIRED)}")
    return videos


def _check_names(names: Sequence[str], file: Path) -> None:
    for name in REQUIRED:
        if name not in names:
            raise InputError(f"{file} has no column {name}: its columns must be {', '.join(REQUIRED)} and maybe tracks")
    for name in names:
        if name not in COLUMNS or names.count(name) > 1:
            problem = "stands there twice" if name in COLUMNS else "is not known"
            raise InputError(f"{file}: the column {name!r} {problem}; columns are {', '.join(COLUMNS)}")


def _csv(file: Path) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    try:
        text = read_regular(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"the manifest {file} is not UTF-8 text: save it as CSV in UTF-8, or as Parquet") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = [name.strip() for name in next(_lines(reader, file), ("", []))[1]]

    def rows() -> Iterator[tuple[str, list[str]]]:
        for where, row in _lines(reader, file):
            if not any(map(str.strip, row)):
                continue
            if len(row) != len(names):
                raise InputError(f"{file}, {where}: it has {len(row)} values for {len(names)} columns")
            yield where, row

    return names, rows()


def _lines(reader, file: Path) -> Iterator[tuple[str, list[str]]]:
    while True:
        where = f"line {reader.line_num + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{file}, {where}: it is not CSV ({error})") from error
        if row is None:
            return
        yield where, row


def _parquet(file: Path) -> tuple[list[str], Iterator[tuple[str, list[Any]]]]:
    pa = pyarrow()
    check_readable(file)
    try:
        table = pa.parquet.read_table(file)
        columns = [column.to_pylist() for column in table.columns]
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"the manifest {file} is not a Parquet file that can be read ({reason})") from error
    rows = zip(*columns, strict=True)
    return table.column_names, ((f"row {number}", list(row)) for number, row in enumerate(rows, 1))


def _video(row: dict[str, Any], where: str, folder: Path) -> Video:
    texts = {name: _text(value, f"{where}, {name}") for name, value in row.items()}
    for name in REQUIRED:
        if not texts[name]:
            raise InputError(f"{where}, {name}: it is empty")
    camera = texts["camera"]
    if not (camera.isascii() and camera.isdigit() and len(camera) < 20 and int(camera) <= LARGEST):
        raise InputError(f"{where}, camera: {camera[:40]!r} is not the number of a camera, a whole number from 0")
    return Video(
        address=_address(texts["video"], folder, f"{where}, video"),
        camera=int(camera),
        start=moment_text(texts["start"], f"{where}, start"),
        tracks=_address(texts["tracks"], folder, f"{where}, tracks") if texts.get("tracks") else "",
    )


def _text(value: Any, where: str) -> str:
    """Return a cell as it would stand in a CSV file; a moment of Parquet keeps its zone."""
    if value is None or value != value:  # NaN: how some programs write an empty cell
        return ""
    if not isinstance(value, str | int | float | datetime.datetime):
        raise InputError(f"{where}: a value of the type {type(value).__name__} is not text, a number or a moment")
    return value.isoformat() if isinstance(value, datetime.datetime) else str(value).strip()


def _address(text: str, folder: Path, where: str) -> str:
    try:
        if is_address(text):
            return check_address(text)
        return os.path.normpath(folder / given_path(text))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
