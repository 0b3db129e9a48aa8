"""What is asked of an archive: vectors, where they come from, and which tracklets may be found."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.search.gallery_files import GalleryFiles, Part, read_part
from vreid_jax.search.gallery_format import SECONDS, Gallery, made_from


@dataclasses.dataclass(frozen=True)
class Filters:
    """Which tracklets may be found; what is None or empty does not restrict.

    A time leaves out what has no known time. A tracklet that is partly within both times is found.

    Attributes:
      cameras: numbers.
      since: seconds since 1970 at which a tracklet may end at the earliest.
      until: seconds since 1970 at which a tracklet may begin at the latest.
    """

    cameras: tuple[int, ...] = ()
    since: float | None = None
    until: float | None = None

    def __post_init__(self):
        if any(camera < 0 for camera in self.cameras):
            raise InputError(f"--camera={min(self.cameras)} is not the number of a camera: it is at least 0")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise InputError("--from is later than --to: nothing is between them")

    @property
    def has_time(self) -> bool:
        """Whether a time restricts."""
        return self.since is not None or self.until is not None

    def within(self, part: Part) -> Any:
        """Return the expression of `pyarrow.dataset` for the rows of a file, None for all of them; False for none."""
        from pyarrow import compute

        conditions = []
        if self.cameras:
            conditions.append(compute.field("camid").isin(list(self.cameras)))
        if self.has_time:
            if part.start is None:
                return False
            if self.since is not None:
                conditions.append(compute.field("end_seconds") >= self.since - part.start)
            if self.until is not None:
                conditions.append(compute.field("start_seconds") <= self.until - part.start)
        if not conditions:
            return None
        both = conditions[0]
        for condition in conditions[1:]:
            both = both & condition
        return both

    def sql(self) -> str | None:
        """Return the condition for the rows of a database, None for all of them."""
        conditions = []
        if self.cameras:
            conditions.append(f"camid IN ({', '.join(map(str, self.cameras))})")
        if self.since is not None:
            conditions.append(f"ends >= {self.since!r}")
        if self.until is not None:
            conditions.append(f"begins <= {self.until!r}")
        return " AND ".join(conditions) or None


@dataclasses.dataclass(frozen=True)
class Queries:
    """Q tracklets to search for.

    Attributes:
      vectors: `[Q, D]` float32.
      names: `tracklet_id`s in their own gallery; a query does not find itself, by its name, its video and its tracks.
      inputs: of each, what it was made from.
      recorded_at: of each, when that was recorded; None: not known, and whatever is of the same input may be the same video.
      times: `[Q, 2]` first and last second of its own video, NaN where unknown.
      cameras: `[Q]` cameras that each must not find again, 0 for none; None: of all cameras.
      tracks: of each, the digest of the tracks that its video was cut along, None where it is not known.
      folders: of each, where its pictures are: where tracks are not known on both sides, those of one video are the same if
        the pictures of both were cut into one folder. Empty: all of one video are of the same tracks.
    """

    vectors: np.ndarray
    names: Sequence[str]
    inputs: Sequence[str]
    recorded_at: Sequence[str | None]
    times: np.ndarray
    cameras: np.ndarray | None = None
    tracks: Sequence[str | None] = ()
    folders: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.vectors)

    def part(self, rows: slice) -> Queries:
        """Return some of them."""
        cameras = None if self.cameras is None else self.cameras[rows]
        return Queries(
            self.vectors[rows],
            self.names[rows],
            self.inputs[rows],
            self.recorded_at[rows],
            self.times[rows],
            cameras,
            self.tracks[rows],
            self.folders[rows],
        )

    def is_of_video(self, query: int, row: dict[str, Any]) -> bool:
        """Return whether a row of an archive is of the video, and of the tracks of it, that a query is from.

        Other tracks of a video name its people anew, and have a person whom both found at the same time in both.
        """
        moment = self.recorded_at[query]
        return (
            row["input"] == self.inputs[query]
            and moment in (None, row["recorded_at"])
            and self._is_of_tracks(query, row.get("tracks"), row["folder"])
        )

    def _is_of_tracks(self, query: int, tracks: str | None, folder: str) -> bool:
        own = self.tracks[query] if self.tracks else None
        if own and tracks:
            return own == tracks
        return not self.folders or os.path.dirname(self.folders[query]) == os.path.dirname(folder)

    def seen_at_once(self, query: int, row: dict[str, Any]) -> bool:
        """Return whether a row was seen at the same time as a query in the same video, and so is somebody else."""
        start, end = row["start_seconds"], row["end_seconds"]
        if start is None or end is None or not self.is_of_video(query, row):
            return False
        return bool(self.times[query, 0] <= end and start <= self.times[query, 1])


def of_files(files: GalleryFiles, *, stated: bool) -> Queries:
    """Return all tracklets of a gallery as queries.

    Args:
      files: the gallery.
      stated: whether inputs are named as the files state them, as a folder and a database do, or by whole paths.
    """
    return joined([of_part(part, read_part(part), stated=stated) for part in files.parts])


def of_part(part: Part, gallery: Gallery, *, stated: bool, own: bool = False) -> Queries:
    """Return some tracklets of a file as queries; `own`: of the archive that is searched, which has each video once."""
    columns, about = gallery.columns, part.about
    made = about["input"] if stated else made_from(about, columns["folder"], part.place.text)
    count = len(gallery)
    times = np.stack([columns[name] for name in SECONDS], 1)
    names, moments = columns["tracklet_id"].tolist(), [about.get("recorded_at")] * count
    tracks, folders = [about.get("tracks")] * count, [] if own else columns["folder"].tolist()
    return Queries(gallery.vectors, names, [made] * count, moments, times, columns["camid"], tracks, folders)


def joined(several: Sequence[Queries]) -> Queries:
    """Return several as one."""
    return Queries(
        np.concatenate([each.vectors for each in several]),
        [name for each in several for name in each.names],
        [made for each in several for made in each.inputs],
        [moment for each in several for moment in each.recorded_at],
        np.concatenate([each.times for each in several]),
        np.concatenate([np.zeros(len(each), int) if each.cameras is None else each.cameras for each in several]),
        [tracks for each in several for tracks in each.tracks],
        [folder for each in several for folder in each.folders],
    )
