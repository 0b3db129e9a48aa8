"""Near pairs in blocks are those of the whole matrix."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from vreid_jax.linking.neighbourhood import Neighbours, pairs_within


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(3).standard_normal((57, 6)).astype(np.float32)


@pytest.mark.parametrize("max_bytes", [2000, 2**26])
def test_all_pairs_within_the_radius_are_found(vectors, max_bytes):
    exact = cdist(vectors.astype(np.float64), vectors.astype(np.float64))
    pairs, distances = pairs_within(vectors, 2.5, "euclidean", max_bytes=max_bytes)
    expected = np.argwhere((exact <= 2.5) & np.triu(np.ones_like(exact, bool), 1))
    np.testing.assert_array_equal(pairs, expected)
    np.testing.assert_allclose(distances, exact[tuple(expected.T)], rtol=1e-4)


@pytest.mark.parametrize("max_bytes", [2000, 2**26])
def test_of_too_many_the_nearest_behind_each_row_are_kept(vectors, max_bytes):
    exact = cdist(vectors.astype(np.float64), vectors.astype(np.float64))
    pairs, _ = pairs_within(vectors, 1e9, "euclidean", most=3, max_bytes=max_bytes)
    expected = [
        (row, row + 1 + int(place)) for row in range(57) for place in sorted(exact[row, row + 1 :].argsort()[:3])
    ]
    np.testing.assert_array_equal(pairs, expected)


def test_pairs_that_are_not_allowed_leave_room_for_others(vectors):
    def odd(one, other):
        return (one + other) % 2 == 1

    pairs, _ = pairs_within(vectors, 1e9, "euclidean", odd, most=2)
    assert odd(*pairs.T).all()
    assert (np.bincount(pairs[:, 0])[:50] == 2).all()


def test_with_first_rows_every_pair_has_one_of_them(vectors):
    first = np.array([5, 20, 50])
    pairs, _ = pairs_within(vectors, 2.5, "euclidean", first=first)
    every, _ = pairs_within(vectors, 2.5, "euclidean")
    np.testing.assert_array_equal(pairs, every[np.isin(every, first).any(1)])
    assert len(pairs_within(vectors, 2.5, "euclidean", first=np.empty(0, np.int64))[0]) == 0


def test_neighbours_are_listed_from_both_ends():
    near = Neighbours(np.array([[0, 2], [1, 2], [2, 4]], np.int32), 5)
    assert [sorted(near.of(row).tolist()) for row in range(5)] == [[2], [2], [0, 1, 4], [], [2]]
