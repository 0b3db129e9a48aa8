"""A gallery that comes in blocks gives what float64 distances of the whole give."""

import jax
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.retrieval.streamed import StreamedNearest
from vreid_jax.runtime.mesh import make_mesh


def exact(query, gallery, metric, hidden):
    query, gallery = query.astype(float), gallery.astype(float)
    if metric == "cosine":
        one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery))
        distances = 1 - one @ other.T
    else:
        distances = np.sqrt(((query[:, None] - gallery[None]) ** 2).sum(2))
    distances[hidden] = np.inf
    order = np.argsort(distances, 1, kind="stable")
    return np.take_along_axis(distances, order, 1), order


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("devices", [None, 4])
def test_blocks_of_any_length_give_the_nearest_of_all(metric, devices):
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(3, 6)).astype(np.float32), rng.normal(size=(50, 6)).astype(np.float32)
    hidden = rng.random((3, 50)) < 0.3
    mesh = None if devices is None else make_mesh(jax.devices()[:devices])
    search = StreamedNearest(query, 5, metric, mesh=mesh, max_bytes=1800)
    assert search.block_rows == 20
    start = 0
    for length in (20, 7, 1, 20, 2):
        search.add(gallery[start : start + length], hidden[:, start : start + length])
        start += length
    distances, rows = search.found()
    true, order = exact(query, gallery, metric, hidden)
    np.testing.assert_array_equal(rows, order[:, :5])
    np.testing.assert_allclose(distances, true[:, :5], rtol=1e-5, atol=1e-6)


def test_what_is_hidden_or_not_there_is_at_an_infinite_distance():
    search = StreamedNearest(np.zeros((2, 2), np.float32), 3)
    search.add(np.ones((2, 2), np.float32), np.array([[True, False], [False, False]]))
    distances, rows = search.found()
    np.testing.assert_allclose(distances, [[2**0.5, np.inf, np.inf], [2**0.5, 2**0.5, np.inf]], rtol=1e-6)
    assert rows[0, 0] == 1
    assert rows[1, :2].tolist() == [0, 1]


def test_rows_of_another_length_and_rows_that_are_not_finite_are_one_sentence():
    search = StreamedNearest(np.zeros((1, 2), np.float32), 3)
    with pytest.raises(InputError, match="query has 2 dimensions and gallery has 3"):
        search.add(np.ones((1, 3), np.float32))
    with pytest.raises(InputError, match="gallery"):
        search.add(np.full((1, 2), np.nan, np.float32))
