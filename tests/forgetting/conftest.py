"""A gallery of four tracklets with pictures, an index, pages, identities and corrections; it was recorded at noon."""

import cv2
import numpy as np
import pytest

from vreid_jax.linking.corrections import Correction, append_correction
from vreid_jax.linking.identities import Identities, write_identities
from vreid_jax.search.gallery import make_table, pyarrow

NAMES = [f"track{number}" for number in range(4)]
PAGE = '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="vreid-source" content="{}">'


@pytest.fixture
def write_gallery(tmp_path):
    """Write a gallery of people seen at 0, 10, 20 and 30 seconds; keywords are metadata."""

    def write(name="town.parquet", **about):
        pictures = tmp_path / f"{name}.frames"
        for shade, tracklet in enumerate(NAMES):
            folder = pictures / tracklet
            folder.mkdir(parents=True)
            for number in range(2):
                cv2.imwrite(str(folder / f"{number:06d}.jpg"), np.full((40, 20, 3), 60 * shade, np.uint8))
        (pictures / ".cut.json").write_text("{}")
        columns = {
            "tracklet_id": NAMES, "pid": [0] * 4, "camid": [1] * 4, "split": [""] * 4, "num_frames": [2] * 4,
            "first_frame": [1] * 4, "last_frame": [2] * 4, "start_seconds": [0.0, 10.0, 20.0, 30.0],
            "end_seconds": [5.0, 15.0, 25.0, 35.0], "folder": [str(pictures / tracklet) for tracklet in NAMES],
            "model": ["f"] * 4,
        }  # fmt: skip
        told = {
            "model": "toy",
            "fingerprint": "f",
            "metric": "euclidean",
            "open_set": None,
            "input": "town.mp4",
            **about,
        }
        path = tmp_path / name
        vectors = np.random.default_rng(len(name)).normal(size=(4, 24)).astype(np.float32)
        pyarrow().parquet.write_table(make_table(vectors, columns, told), path)
        return path

    return write


@pytest.fixture
def write_linked(tmp_path):
    """Write the identities of galleries: the first two tracklets of each are person 1, the others 2 and 3."""

    def write(*galleries, name="identities.parquet"):
        count = 4 * len(galleries)
        nothing = np.full(count, np.nan)
        columns = {
            "gallery": np.repeat([path.name for path in galleries], 4),
            "tracklet_id": np.array(NAMES * len(galleries)),
            "identity": np.array([1, 1, 2, 3] * len(galleries)),
            "name": np.full(count, ""),
            "confidence": np.full(count, 0.5),
            "distance": nothing, "rival": np.zeros(count, int), "rival_distance": nothing,
            "camid": np.ones(count, int), "start_seconds": nothing, "end_seconds": nothing,
        }  # fmt: skip
        about = {
            "fingerprint": "f", "model": "toy", "metric": "euclidean", "clock": "common", "threshold": 1.0, "perhaps": 1.2,
            "galleries": [{"path": path.name, "rows": 4} for path in galleries], "threshold_from": "given",
            "no_overlap": False, "next_identity": 4,
        }  # fmt: skip
        path = tmp_path / name
        write_identities(Identities(columns, about), path)
        return path

    return write


@pytest.fixture
def kept(write_gallery, write_linked, tmp_path):
    """A gallery with all that can lie beside it."""
    gallery = write_gallery()
    identities = write_linked(gallery)
    key = [(gallery.name, name) for name in NAMES]
    append_correction(identities, Correction("same", (key[0], key[1])))
    append_correction(identities, Correction("different", (key[2],), (key[0], key[3])))
    append_correction(identities, Correction("name", (key[0],), name="Ann"))
    (tmp_path / "town.parquet.index").mkdir()
    (tmp_path / "town.parquet.index" / "files.json").write_bytes(b"an index")
    parts = tmp_path / "town.parquet.parts"
    parts.mkdir()
    (parts / "000000.parquet").write_bytes(b"vectors")
    (tmp_path / "town.html").write_text(PAGE.format("gallery town.parquet"))
    (tmp_path / "search.html").write_text(PAGE.format("search uptown.parquet, town.parquet"))
    (tmp_path / "people.html").write_text(PAGE.format("identities identities.parquet"))
    (tmp_path / "moved.html").write_text(PAGE.format("identities gone.parquet") + "<td>up/town.parquet</td>")
    (tmp_path / "others.html").write_text(PAGE.format("identities gone.parquet") + "<td>uptown.parquet</td>")
    (tmp_path / "other.html").write_text(PAGE.format("gallery uptown.parquet"))
    (tmp_path / "mine.html").write_text("<p>town.parquet</p>")
    return gallery
