"""The scores of `benchmarks/linking.py`, by hand and by trying every assignment."""

import importlib
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("linking")


def test_pairs_of_unknown_tracklets_do_not_count(benchmark):
    found, true = np.array([1, 1, 1, 2, 0, 0]), np.array([1, 1, 2, 2, 2, 2])
    scores = benchmark.pairwise(found, true)  # pairs found: 01 02 12; true: 01 and six of the second person
    assert scores == pytest.approx({"precision": 1 / 3, "recall": 1 / 7, "F1": 0.2})


def test_identity_f1_is_that_of_the_best_assignment(benchmark):
    rng = np.random.default_rng(0)
    agreeing = rng.integers(0, 20, (4, 4))
    best = max(sum(agreeing[row, column] for row, column in enumerate(order)) for order in permutations(range(4)))
    assert benchmark.identity_f1(agreeing, 200, 180) == pytest.approx(2 * best / 380)


def test_a_half_covered_box_overlaps_by_a_third(benchmark):
    boxes = np.array([[0.0, 0, 2, 2], [1, 0, 2, 2], [5, 5, 1, 1]])
    expected = [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(benchmark.overlaps(boxes, boxes), expected)


def test_a_gallery_of_other_tracks_or_another_video_is_not_read(benchmark, monkeypatch, tmp_path):
    made = []

    def embed_gallery(model, source, out):
        made.append((source["frames"].name, out.name))
        out.write_bytes(b"")

    monkeypatch.setattr("vreid_jax.inference.load", lambda name: SimpleNamespace(fingerprint="0123456789"))
    monkeypatch.setattr("vreid_jax.search.open_source", lambda video, **fields: fields)
    monkeypatch.setattr("vreid_jax.search.embed_gallery", embed_gallery)
    for name, content in (
        ("webm", "video"),
        ("tracks.txt", "1,1,0,0,8,8"),
        ("tracks.txt", "1,2,0,0,8,8"),
        ("webm", "other"),
    ):
        for file in ("webm", "tracks.txt"):
            (tmp_path / f"camera1.{file}").touch()
        (tmp_path / f"camera1.{name}").write_text(content)
        (path,) = benchmark.embed_scene(tmp_path, 1, "tracks", None)
        assert [path] == benchmark.embed_scene(tmp_path, 1, "tracks", None)
        assert path.name == made[-1][1]
    assert len(set(made)) == len({frames for frames, _ in made}) == len(made) == 4
