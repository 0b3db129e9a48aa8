"""FAISS in front of exact distances: the same matches where it is exact, nearly all of them where it is not."""

import importlib.util
import os
import sys

import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.search import faiss_index, find, open_gallery, ranked
from vreid_jax.search.gallery import make_table, pyarrow, read_rows

pytest.importorskip("pyarrow")
UNTIMED = np.full((600, 2), np.nan)
needs_faiss = pytest.mark.skipif(not importlib.util.find_spec("faiss"), reason="FAISS is an extra")


@pytest.fixture(params=["euclidean", "cosine"])
def gallery_file(tmp_path, request):
    """600 tracklets of 60 persons in 12 dimensions, in row groups of 100."""
    generator = np.random.default_rng(0)
    pids = np.repeat(np.arange(60), 10)
    vectors = (generator.normal(size=(60, 12))[pids] + 0.2 * generator.normal(size=(600, 12))).astype(np.float32)
    names = [f"t{row}" for row in range(600)]
    numbers = {name: [0] * 600 for name in ("num_frames", "first_frame", "last_frame")}
    texts = {name: [""] * 600 for name in ("split", "folder", "model")}
    columns = {"tracklet_id": names, "pid": pids.tolist(), "camid": [1 + row % 3 for row in range(600)]}
    columns |= {**numbers, **texts, "start_seconds": [None] * 600, "end_seconds": [None] * 600}
    about = {"fingerprint": "x", "model": "toy", "metric": request.param, "open_set": None, "input": "made up"}
    path = tmp_path / "g.parquet"
    pyarrow().parquet.write_table(make_table(vectors, columns, about), path, row_group_size=100)
    return path


def test_some_rows_are_read_alone(gallery_file):
    whole, some = open_gallery(gallery_file), read_rows(gallery_file, np.array([3, 99, 100, 555]))
    assert some.columns["tracklet_id"].tolist() == ["t3", "t99", "t100", "t555"]
    np.testing.assert_array_equal(some.vectors, whole.vectors[[3, 99, 100, 555]])
    assert some.about == whole.about


@needs_faiss
def test_a_small_gallery_gives_the_exact_matches(gallery_file):
    whole = open_gallery(gallery_file)
    names, cameras = ["t7", "t300"], whole.columns["camid"][[7, 300]]
    vectors = whole.vectors[[7, 300]]
    for cams in (None, cameras):
        expected = find(whole, vectors, 5, leave_out=ranked.left_out(whole, names, cams))
        found = faiss_index.find(gallery_file, vectors, 5, 0.01, names, cams, UNTIMED)
        for one, other in zip(found, expected, strict=True):
            assert [match.row["tracklet_id"] for match in one] == [match.row["tracklet_id"] for match in other]
            np.testing.assert_allclose([m.distance for m in one], [m.distance for m in other], rtol=1e-4)
    assert gallery_file.with_name("g.parquet.faiss").is_file()


def _changed(path, shift):
    """The gallery again, its vectors moved, its file older than it was."""
    gallery = open_gallery(path)
    columns = {name: values.tolist() for name, values in gallery.columns.items()}
    table = make_table(gallery.vectors[::-1] + shift, columns, gallery.about)
    pyarrow().parquet.write_table(table, path, row_group_size=100)
    os.utime(path, (0, 0))


def _nearest(path, vector):
    return faiss_index.find(path, vector[None], 1, 0.01, [""], None, UNTIMED[:1])[0][0].row["tracklet_id"]


@needs_faiss
def test_an_index_of_another_gallery_or_a_broken_one_is_built_again(gallery_file, monkeypatch):
    index = gallery_file.with_name("g.parquet.faiss")
    vector = open_gallery(gallery_file).vectors[7]
    assert _nearest(gallery_file, vector) == "t7"
    _changed(gallery_file, 1.0)
    assert _nearest(gallery_file, vector + 1) == "t592"
    stamp = index.read_bytes()[-32:]
    damaged = bytearray(index.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    for content in (b"", b"no index" + stamp, index.read_bytes()[:-40], damaged):
        index.write_bytes(content)
        assert _nearest(gallery_file, vector + 1) == "t592"
        assert index.read_bytes()[-32:] == stamp
    monkeypatch.setattr(faiss_index, "_build", lambda *_: pytest.fail("built again"))
    assert _nearest(gallery_file, vector + 1) == "t592"


@needs_faiss
def test_a_pipe_in_place_of_an_index_does_not_hang(gallery_file):
    os.mkfifo(gallery_file.with_name("g.parquet.faiss"))
    assert _nearest(gallery_file, open_gallery(gallery_file).vectors[7]) == "t7"


@needs_faiss
def test_an_index_that_cannot_be_kept_does_not_stop_a_search(gallery_file, caplog):
    gallery_file.with_name("g.parquet.faiss").mkdir()
    assert _nearest(gallery_file, open_gallery(gallery_file).vectors[7]) == "t7"
    assert [record.getMessage() for record in caplog.records] == [
        f"{gallery_file}.faiss cannot be written: the next search will build the index again"
    ]


@needs_faiss
def test_codes_find_nearly_all_of_the_nearest(gallery_file, monkeypatch):
    monkeypatch.setattr(faiss_index, "SMALL", 100)
    monkeypatch.setattr(faiss_index, "recipe", lambda count, dimensions: "IVF8,PQ4x4")
    whole = open_gallery(gallery_file)
    rows = np.arange(0, 600, 60)
    names = whole.columns["tracklet_id"][rows].tolist()
    expected = find(whole, whole.vectors[rows], 5, leave_out=ranked.left_out(whole, names, None))
    found = faiss_index.find(gallery_file, whole.vectors[rows], 5, 0.01, names, None, UNTIMED)
    both = [
        len({m.row["tracklet_id"] for m in a} & {m.row["tracklet_id"] for m in b})
        for a, b in zip(found, expected, strict=True)
    ]
    assert sum(both) >= 45


def test_recipes_fit_the_size_and_the_dimensions():
    assert faiss_index.recipe(20_000, 256) == "Flat"
    assert faiss_index.recipe(1_000_000, 2048) == "IVF4000,PQ64x8"
    assert faiss_index.recipe(90_000, 48) == "IVF1200,PQ16x8"


def test_without_faiss_it_says_what_to_install(gallery_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match="--approximate needs FAISS"):
        faiss_index.find(gallery_file, np.zeros((1, 12), np.float32), 5, 0.01, ["x"], None, UNTIMED)
