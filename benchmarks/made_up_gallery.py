"""A made-up gallery of many files, with queries whose nearest neighbours are known, for `archives.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

DIMENSIONS, PER_PERSON, QUERIES, K = 128, 20, 100, 10
CAMERAS, DAYS = 10, 10
SPREAD = 0.6  # of the tracklets of a person, where people have 1
DAY = 86_400.0
BEGIN = 1_767_225_600.0  # 2026-01-01, UTC
CAMERA, SINCE = 3, BEGIN + 7 * DAY  # of the filter


@dataclasses.dataclass(frozen=True)
class Made:
    """A made-up gallery of `size` tracklets in `folder`."""

    folder: Path
    size: int

    @property
    def files(self) -> list[Path]:
        """The Parquet files, by camera and day."""
        return [
            self.folder / "gallery" / f"camera={camera + 1}" / f"date=2026-01-{day + 1:02d}" / "part.parquet"
            for day in range(DAYS)
            for camera in range(CAMERAS)
        ]

    def truth(self) -> dict[str, np.ndarray]:
        """Return `queries` [Q, D], and the true rows `all` and `some` [Q, K]."""
        return dict(np.load(self.folder / "truth.npz"))


def spectrum() -> np.ndarray:
    """Return the standard deviation of each of the numbers of a vector."""
    # Features of a trained network vary in few directions: the variance falls as that of a power law.
    return (1.0 / np.sqrt(1.0 + np.arange(DIMENSIONS) / 8.0)).astype(np.float32)


def _people(size: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((size // PER_PERSON, DIMENSIONS), np.float32) * spectrum()


def _vectors(size: int, number: int, people: np.ndarray) -> np.ndarray:
    """Return the vectors of file `number`: row `r` of all is of person `r` modulo the number of people."""
    each = size // (CAMERAS * DAYS)
    rows = np.arange(number * each, (number + 1) * each)
    noise = np.random.default_rng((2, number)).standard_normal((each, DIMENSIONS), np.float32)
    return people[rows % len(people)] + SPREAD * spectrum() * noise


def make(made: Made) -> dict[str, Any]:
    """Write the gallery and the truth."""
    from vreid_jax.search.gallery import make_table, pyarrow

    people = _people(made.size)
    each = made.size // (CAMERAS * DAYS)
    for number, file in enumerate(made.files):
        if file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        start = np.linspace(0, DAY - 20, each)
        camera, day = number % CAMERAS + 1, number // CAMERAS
        columns = {
            "tracklet_id": [f"track{row:07d}" for row in range(each)],
            **{name: np.zeros(each, int) for name in ("pid", "num_frames", "first_frame", "last_frame")},
            "camid": np.full(each, camera),
            "start_seconds": start,
            "end_seconds": start + 10,
            **{name: [""] * each for name in ("split", "folder", "model")},
        }
        about = {"fingerprint": "made-up", "model": "made up", "metric": "euclidean", "open_set": None}
        about |= {"input": f"/cameras/{camera}/{day}.mp4", "recorded_at": f"2026-01-{day + 1:02d}T00:00:00+00:00"}
        table = make_table(_vectors(made.size, number, people), columns, about)
        half = file.with_name(".half")
        pyarrow().parquet.write_table(
            table, half, row_group_size=16_384, compression={"vector": "none"}, write_page_checksum=True
        )
        half.replace(file)
    _make_truth(made, people)
    return {"bytes": sum(file.stat().st_size for file in made.files)}


def _make_truth(made: Made, people: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    chosen = rng.choice(len(people), QUERIES, replace=False)
    noise = rng.standard_normal((QUERIES, DIMENSIONS), np.float32)
    queries = people[chosen] + SPREAD * spectrum() * noise
    each = made.size // (CAMERAS * DAYS)
    best = {name: (np.full((QUERIES, 0), np.inf), np.zeros((QUERIES, 0), int)) for name in ("all", "some")}
    for number in range(CAMERAS * DAYS):
        vectors = _vectors(made.size, number, people)
        distances = (queries**2).sum(1)[:, None] - 2 * queries @ vectors.T + (vectors**2).sum(1)[None]
        place = np.argpartition(distances, K, axis=1)[:, :K]
        near = np.take_along_axis(distances, place, 1)
        passes = number % CAMERAS + 1 == CAMERA and number // CAMERAS >= 7
        for name in ("all", "some") if passes else ("all",):
            both = np.concatenate([best[name][0], near], 1)
            rows = np.concatenate([best[name][1], place + number * each], 1)
            order = np.argsort(both, 1, kind="stable")[:, :K]
            best[name] = np.take_along_axis(both, order, 1), np.take_along_axis(rows, order, 1)
    np.savez(made.folder / "truth.npz", queries=queries, all=best["all"][1], some=best["some"][1])


def read(made: Made) -> Iterator[np.ndarray]:
    """Yield the vectors `[n, D]` of every file."""
    import pyarrow.parquet

    for file in made.files:
        column = pyarrow.parquet.read_table(file, columns=["vector"]).column("vector").combine_chunks()
        yield column.flatten().to_numpy().reshape(-1, DIMENSIONS)
