import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError


@pytest.mark.parametrize(("t", "expected"), [(1, 0.9), (25, 0.9), (26, 0.8), (50, 0.8), (100, 0.55)])
def test_the_highest_share_of_four_pairs_rounded_up(t, expected):
    similarity = retrieval.top_t_similarity(jnp.array([[0.9, 0.2], [0.7, 0.4]]), t)
    np.testing.assert_allclose(similarity, expected, rtol=1e-6)


def test_a_share_that_is_a_whole_number_is_not_rounded_up():
    values = np.arange(100.0).reshape(10, 10)
    for t in range(1, 101):
        np.testing.assert_allclose(retrieval.top_t_similarity(values, t), np.mean(range(100 - t, 100)), rtol=1e-6)


def test_masked_pairs_equal_leaving_them_out():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(3, 4, 5)).astype(np.float32)
    valid = np.zeros((3, 4, 5), bool)
    valid[:, :3, :2] = True
    np.testing.assert_allclose(
        retrieval.top_t_similarity(values, 40, valid), retrieval.top_t_similarity(values[:, :3, :2], 40), rtol=1e-6
    )
    assert np.isnan(retrieval.top_t_similarity(values, 40, np.zeros_like(valid))).all()


def test_only_chosen_pairs_get_a_gradient_also_under_jit():
    values = jnp.array([[0.9, 0.2], [0.7, 0.4]])
    gradient = jax.jit(jax.grad(lambda x: retrieval.top_t_similarity(x, 50)))(values)
    np.testing.assert_allclose(gradient, [[0.5, 0], [0.5, 0]])


@pytest.mark.parametrize("max_bytes", [1, 2**28])
def test_distance_equals_numpy_pair_by_pair(max_bytes):
    generator = np.random.default_rng(0)
    query, gallery = generator.normal(size=(5, 3, 6)), generator.normal(size=(7, 4, 6))
    query_valid, gallery_valid = generator.random((5, 3)) < 0.6, generator.random((7, 4)) < 0.6
    query_valid[:, 0] = gallery_valid[:, 0] = True
    query[~query_valid] = np.nan  # padding is never looked at
    result = retrieval.top_t_distance(query, gallery, 30, query_valid, gallery_valid, max_bytes=max_bytes)
    assert isinstance(result, np.ndarray)
    for i in range(5):
        for j in range(7):
            a, b = query[i, query_valid[i]], gallery[j, gallery_valid[j]]
            cosine = (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)[None]
            highest = np.sort(cosine.ravel())[::-1][: int(np.ceil(0.3 * cosine.size))]
            np.testing.assert_allclose(result[i, j], 1 - highest.mean(), rtol=1e-4, atol=1e-6)


def test_unusable_input_is_one_clear_sentence():
    clips = np.ones((2, 3, 4))
    for t in (0, 101):
        with pytest.raises(InputError, match="percentage"):
            retrieval.top_t_distance(clips, clips, t)
    with pytest.raises(InputError, match="query_clips must be"):
        retrieval.top_t_distance(clips[0], clips, 20)
    with pytest.raises(InputError, match="tracklet 1 has no clip"):
        retrieval.top_t_distance(clips, clips, 20, np.array([[True] * 3, [False] * 3]))
    with pytest.raises(InputError, match="mask of gallery_clips"):
        retrieval.top_t_distance(clips, clips, 20, None, np.ones((2, 2), bool))
    with pytest.raises(InputError, match="NaN"):
        retrieval.top_t_distance(clips * np.nan, clips, 20)
    with pytest.raises(InputError, match="dimensions"):
        retrieval.top_t_distance(clips[:, :, :2], clips, 20)
