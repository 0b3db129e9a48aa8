"""Galleries of made-up vectors, as files with pictures and as sightings; and the command."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid_jax.linking import Sightings
from vreid_jax.search.gallery import make_table, pyarrow


@pytest.fixture
def sightings():
    """Make sightings of one gallery from vectors, cameras and times."""

    def make(vectors, camids=None, times=None, metric="euclidean"):
        count = len(vectors)
        camids = np.ones(count, np.int64) if camids is None else np.asarray(camids, np.int64)
        times = np.full((count, 2), np.nan) if times is None else np.asarray(times, np.float64)
        return Sightings(
            vectors=np.asarray(vectors, np.float32),
            gallery=np.zeros(count, np.int64),
            tracklet_ids=np.array([f"t{row}" for row in range(count)]),
            camids=camids,
            cameras=np.unique(camids, return_inverse=True)[1].reshape(-1),
            times=times,
            paths=(Path("g.parquet"),),
            about=({"fingerprint": "f", "model": "toy", "metric": metric, "input": "g.avi", "open_set": None},),
            inputs=("g.avi",),
            clock="common",
        )

    return make


@pytest.fixture
def gallery_file(tmp_path):
    """Write a gallery of the given vectors [N, D], cameras and times; every tracklet has two pictures."""

    def write(name, vectors, camid=1, times=None, pictures=True, **about):
        count = len(vectors)
        times = [(None, None)] * count if times is None else times
        names = [f"track{row:04d}" for row in range(count)]
        folders = [tmp_path / "people" / name / each for each in names]
        for shade, folder in enumerate(folders if pictures else ()):
            folder.mkdir(parents=True)
            for number in (1, 2):
                cv2.imwrite(str(folder / f"{number:06d}.jpg"), np.full((40, 20, 3), 20 * (shade % 12), np.uint8))
        columns = {
            "tracklet_id": names, "pid": [0] * count, "camid": [camid] * count, "split": [""] * count,
            "num_frames": [2] * count, "first_frame": [1] * count, "last_frame": [2] * count,
            "start_seconds": [start for start, _ in times], "end_seconds": [end for _, end in times],
            "folder": [str(folder) for folder in folders], "model": ["f"] * count,
        }  # fmt: skip
        given = {"model": "toy", "fingerprint": "f", "metric": "euclidean", "open_set": None, "input": f"{name}.avi"}
        path = tmp_path / f"{name}.parquet"
        table = make_table(np.asarray(vectors, np.float32), columns, {**given, **about})
        pyarrow().parquet.write_table(table, path, row_group_size=4, write_page_checksum=True)
        return path

    return write
