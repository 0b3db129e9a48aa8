"""A gallery on the device finds what a search of the whole gallery finds."""

import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError
from vreid_jax.retrieval.resident import MOST_QUERIES, ResidentGallery


def drawn(count, seed):
    return np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)


@pytest.mark.parametrize(
    ("metric", "count", "k"), [("euclidean", 1, 1), ("euclidean", 7, 40), ("sqeuclidean", 3, 5), ("cosine", 3, 5)]
)
def test_it_finds_what_top_k_finds(metric, count, k):
    gallery, queries = drawn(40, 0), drawn(count, 1)
    distances, rows = ResidentGallery(gallery, metric).top_k(queries, k)
    wanted, wanted_rows = retrieval.top_k(queries, gallery, k, metric)
    np.testing.assert_array_equal(rows, wanted_rows)
    np.testing.assert_allclose(distances, wanted, rtol=1e-5, atol=1e-6)


def test_on_a_line_the_distances_are_those_of_a_ruler_and_hidden_rows_come_last():
    gallery = ResidentGallery(np.array([[0.0], [3.0], [1.0], [1.0]], np.float32))
    distances, rows = gallery.top_k(np.array([[0.5]], np.float32), 4)
    np.testing.assert_allclose(distances, [[0.5, 0.5, 0.5, 2.5]], rtol=1e-6)
    np.testing.assert_array_equal(rows, [[0, 2, 3, 1]])  # ties by row
    distances, rows = gallery.top_k(np.array([[0.5]], np.float32), 4, np.array([[True, False, False, True]]))
    np.testing.assert_allclose(distances, [[0.5, 2.5, np.inf, np.inf]], rtol=1e-6)
    np.testing.assert_array_equal(rows[:, :2], [[2, 1]])


def test_a_wrong_query_is_one_sentence():
    gallery = ResidentGallery(drawn(4, 0))
    with pytest.raises(InputError, match="query has 2 dimensions and gallery has 6"):
        gallery.top_k(np.zeros((1, 2), np.float32), 1)
    with pytest.raises(InputError, match=r"k must be in 1 … 4"):
        gallery.top_k(drawn(1, 1), 5)
    with pytest.raises(InputError, match=f"at most {MOST_QUERIES} are searched for at once"):
        gallery.top_k(drawn(MOST_QUERIES + 1, 1), 1)
