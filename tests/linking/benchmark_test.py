"""The scores of `benchmarks/linking.py`, by hand and by trying every assignment."""

import importlib
from itertools import permutations
from pathlib import Path

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
