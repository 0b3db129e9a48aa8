import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from vreid_jax import retrieval
from vreid_jax.errors import InputError
from vreid_jax.retrieval import distances
from vreid_jax.retrieval.resident import ResidentGallery


def reference(a, b, metric):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if metric == "cosine":
        return 1 - (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T
    squared = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    return squared if metric == "sqeuclidean" else np.sqrt(squared)


def example(queries=13, gallery=37, dimensions=24):
    generator = np.random.default_rng(0)
    draw = lambda n: generator.normal(size=(n, dimensions)).astype(np.float32)  # noqa: E731
    return draw(queries), draw(gallery)


def mesh_of_four():
    return jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])


@pytest.mark.parametrize("metric", distances.METRICS)
@pytest.mark.parametrize("max_bytes", [1, 4000, 2**28])
@pytest.mark.parametrize("spread", [False, True])
def test_equals_float64_numpy_in_any_blocks_on_one_device_and_four(metric, max_bytes, spread):
    a, b = example()
    result = retrieval.pairwise_distance(a, b, metric, mesh=mesh_of_four() if spread else None, max_bytes=max_bytes)
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, reference(a, b, metric), rtol=2e-5, atol=1e-6)


def test_three_points_worked_by_hand():
    a, b = np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    np.testing.assert_allclose(retrieval.pairwise_distance(a, b), [[5, 0, 5]])
    np.testing.assert_allclose(retrieval.pairwise_distance(a, b, "sqeuclidean"), [[25, 0, 25]])
    np.testing.assert_allclose(retrieval.pairwise_distance(a, b, "cosine"), [[1, 0, 0]], atol=1e-6)


def test_jax_arrays_and_low_precision_are_taken():
    a, b = example()
    low = jnp.asarray(a, jnp.bfloat16)
    expected = reference(np.asarray(low, np.float32), b, "euclidean")
    np.testing.assert_allclose(retrieval.pairwise_distance(low, jnp.asarray(b)), expected, rtol=2e-5)


def test_a_zero_vector_is_at_cosine_distance_one():
    result = retrieval.pairwise_distance(np.zeros((1, 3)), np.array([[1.0, 2, 3], [0, 0, 0]]), "cosine")
    np.testing.assert_array_equal(result, [[1, 1]])


@pytest.mark.parametrize("metric", distances.METRICS)
def test_equal_vectors_are_never_at_a_negative_distance(metric):
    a = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32) * 100
    result = retrieval.pairwise_distance(a, a, metric)
    assert result.min() >= 0
    assert ResidentGallery(a, metric).top_k(a, 1)[0].min() >= 0
    assert np.diagonal(result).max() < 1


def test_unusable_features_are_one_clear_sentence():
    a, b = example()
    with pytest.raises(InputError, match="a has 24 dimensions and b has 23"):
        retrieval.pairwise_distance(a, b[:, 1:])
    with pytest.raises(InputError, match="at least one row and column"):
        retrieval.pairwise_distance(a, b[:0])
    with pytest.raises(InputError, match="must be a \\[N, D\\] array"):
        retrieval.pairwise_distance(a[0], b)
    with pytest.raises(InputError, match="metric must be one of"):
        retrieval.pairwise_distance(a, b, "manhattan")
    for value in (np.nan, np.inf):
        broken = b.copy()
        broken[[5, 7], 2] = value
        with pytest.raises(InputError, match="b has NaN or infinite values in 2 rows, the first is row 5"):
            retrieval.pairwise_distance(a, broken)


def test_large_but_finite_features_are_not_taken_for_broken_ones():
    huge = np.full((1, 4), 1e25, np.float32)
    np.testing.assert_allclose(retrieval.pairwise_distance(huge, huge, "cosine"), [[0]], atol=1e-6)


@pytest.mark.parametrize("count", [1, 7, 100])
def test_blocks_are_equal_and_cover_everything_within_the_bound(count):
    for max_bytes in (1, 40, 1000):
        length = distances.block_length(count, 10, max_bytes)
        assert length * 10 <= max(max_bytes, 10)
        assert -(-count // length) * length - count < -(-count // length)
    assert distances.block_length(count, 10, 40, multiple=4) % 4 == 0
