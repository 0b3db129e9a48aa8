import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from vreid_jax import retrieval
from vreid_jax.errors import InputError
from vreid_jax.retrieval import neighbours


def example(queries=9, gallery=53, dimensions=16):
    generator = np.random.default_rng(0)
    return (generator.normal(size=(n, dimensions)).astype(np.float32) for n in (queries, gallery))


def mesh_of_four():
    return jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])


@pytest.mark.parametrize("k", [1, 6, 53])
@pytest.mark.parametrize("max_bytes", [2000, 2**28])
@pytest.mark.parametrize(
    ("metric", "spread"), [("euclidean", False), ("sqeuclidean", False), ("cosine", False), ("euclidean", True)]
)
def test_equals_sorting_the_whole_matrix(metric, k, max_bytes, spread):
    query, gallery = example()
    mesh = mesh_of_four() if spread else None
    distances, indices = retrieval.top_k(query, gallery, k, metric, mesh=mesh, max_bytes=max_bytes)
    whole = retrieval.pairwise_distance(query, gallery, metric)
    order = np.argsort(whole, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, np.take_along_axis(whole, order, axis=1), rtol=1e-5, atol=1e-6)
    assert (distances.dtype, indices.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("max_bytes", [500, 2**28])
@pytest.mark.parametrize("spread", [False, True])
def test_ties_go_to_the_smaller_index_across_blocks_and_devices(max_bytes, spread):
    gallery = np.ones((30, 4), np.float32)
    mesh = mesh_of_four() if spread else None
    _, indices = retrieval.top_k(gallery[:2], gallery, 7, mesh=mesh, max_bytes=max_bytes)
    np.testing.assert_array_equal(indices, [np.arange(7)] * 2)


@pytest.mark.parametrize("max_bytes", [500, 2**28])
@pytest.mark.parametrize("spread", [False, True])
def test_what_is_hidden_is_not_found_and_the_rest_is_as_if_more_had_been_asked_for(max_bytes, spread):
    gallery = np.repeat(np.arange(10, dtype=np.float32), 3)[:, None]  # ties in threes
    hidden = np.random.default_rng(0).random((7, 30)) < 0.6
    mesh = mesh_of_four() if spread else None
    found = neighbours.nearest_rows(
        gallery[:7], gallery, 20, mesh=mesh, max_bytes=max_bytes, hidden=lambda queries, rows: hidden[queries, rows]
    )
    distances, order = retrieval.top_k(gallery[:7], gallery, 30, mesh=mesh, max_bytes=max_bytes)
    for query in range(7):
        kept = ~hidden[query, order[query]]
        real = np.isfinite(found.distances[query])
        np.testing.assert_array_equal(found.indices[query, real], order[query, kept][:20])
        np.testing.assert_array_equal(found.distances[query, real], distances[query, kept][:20])


@pytest.mark.parametrize("max_bytes", [2000, 2**28])
def test_the_farthest_distance_is_found_and_padding_is_not(max_bytes):
    query, gallery = example()
    found = neighbours.nearest_rows(query + 10, gallery + 10, 3, max_bytes=max_bytes)
    expected = retrieval.pairwise_distance(query + 10, gallery + 10).max(axis=1)
    np.testing.assert_allclose(found.farthest, expected, rtol=1e-5)


def test_a_gallery_on_disk_in_half_precision(tmp_path):
    query, gallery = example()
    path = tmp_path / "gallery.npy"
    np.save(path, gallery.astype(np.float16))
    stored = np.load(path, mmap_mode="r")
    _, indices = retrieval.top_k(query, stored, 5, max_bytes=4000)
    expected = retrieval.top_k(query, gallery.astype(np.float16).astype(np.float32), 5)[1]
    np.testing.assert_array_equal(indices, expected)


def test_unusable_input_is_one_clear_sentence():
    query, gallery = example()
    for k in (0, 54):
        with pytest.raises(InputError, match="k must be in 1 … 53"):
            retrieval.top_k(query, gallery, k)
    with pytest.raises(InputError, match="query has 15 dimensions and gallery has 16"):
        retrieval.top_k(query[:, 1:], gallery, 2)
    with pytest.raises(InputError, match="metric"):
        retrieval.top_k(query, gallery, 2, "manhattan")
    gallery[50, 3] = np.nan
    with pytest.raises(InputError, match="gallery has NaN or infinite values in 1 rows, the first is row 50"):
        retrieval.top_k(query, gallery, 2, max_bytes=2000)
