from pathlib import Path

import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "retrieval.npz"


def dense(full, k1, k2, lambda_value, queries, columns, squared=False):
    """The published algorithm with its N x N matrices, in float64."""
    full = np.asarray(full, np.float64)
    full = full if squared else full**2
    full = (full / full.max(axis=0)).T
    order = np.argsort(full, axis=1, kind="stable")

    def reciprocal(i, k):
        return {j for j in order[i, : k + 1] if i in order[j, : k + 1]}

    v = np.zeros_like(full)
    for i in range(len(full)):
        members = reciprocal(i, k1)
        expanded = set(members)
        for c in members:
            near = reciprocal(c, int(np.around(k1 / 2)))
            if len(near & members) > 2 / 3 * len(near):
                expanded |= near
        expanded = sorted(expanded)
        weight = np.exp(-full[i, expanded])
        v[i, expanded] = weight / weight.sum()
    if k2 > 1:
        v = np.stack([v[order[i, :k2]].mean(axis=0) for i in range(len(full))])
    shared = np.minimum(v[queries][:, None], v[columns][None]).sum(axis=2)
    return (1 - shared / (2 - shared)) * (1 - lambda_value) + full[np.ix_(queries, columns)] * lambda_value


def persons(count=90, persons=12, dimensions=8, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(persons, dimensions))
    features = centres[generator.integers(0, persons, count)] + 0.5 * generator.normal(size=(count, dimensions))
    return features.astype(np.float32)


def all_distances(features):
    features = features.astype(np.float64)
    return np.sqrt(((features[:, None] - features[None]) ** 2).sum(axis=2))


@pytest.mark.parametrize(
    ("name", "k1", "k2", "lambda_value"), [("rerank_k20_k6_l03", 20, 6, 0.3), ("rerank_k10_k1_l05", 10, 1, 0.5)]
)
def test_the_published_code_s_numbers(name, k1, k2, lambda_value):
    golden = np.load(GOLDEN)
    query, gallery = (golden["features"][golden[k]] for k in ("query_index", "gallery_without_queries"))
    result = retrieval.rerank(query, gallery, k1, k2, lambda_value)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, golden[name], atol=1e-5)
    distance = retrieval.pairwise_distance
    given = retrieval.rerank_distances(
        distance(query, gallery), distance(query, query), distance(gallery, gallery), k1, k2, lambda_value
    )
    np.testing.assert_allclose(given, golden[name], atol=1e-5)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
@pytest.mark.parametrize(("k1", "k2", "lambda_value"), [(20, 6, 0.3), (7, 3, 0.0), (3, 9, 0.5), (200, 200, 0.1)])
def test_equals_the_dense_algorithm_with_the_same_ranks(seed, k1, k2, lambda_value):
    features = persons(seed=seed)
    expected = dense(all_distances(features), k1, k2, lambda_value, np.arange(20), np.arange(20, 90))
    result = retrieval.rerank(features[:20], features[20:], k1, k2, lambda_value)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    # Only where the float64 numbers are clearly apart does their order have to agree.
    order = np.argsort(expected, axis=1, kind="stable")
    ascending = np.take_along_axis(result, order, axis=1)
    assert np.diff(ascending, axis=1).min() > -1e-5


def test_small_blocks_change_nothing():
    features = persons()
    np.testing.assert_allclose(
        retrieval.rerank(features[:20], features[20:], max_bytes=2000),
        retrieval.rerank(features[:20], features[20:]),
        atol=1e-6,
    )


def test_queries_in_the_gallery_enter_once():
    features = persons()
    rows = np.array([3, 40, 77])
    full = all_distances(features)
    expected = dense(full, 10, 4, 0.3, rows, np.arange(90))
    np.testing.assert_allclose(
        retrieval.rerank(features[rows], features, 10, 4, 0.3, query_index=rows), expected, atol=1e-5
    )
    given = retrieval.rerank_distances(None, None, full, 10, 4, 0.3, query_index=rows)
    np.testing.assert_allclose(given, expected, atol=1e-5)
    twice = retrieval.rerank(features[rows], features, 10, 4, 0.3)
    assert abs(twice - expected).max() > 0.01


def test_asymmetric_distances_are_read_as_the_published_code_reads_them():
    generator = np.random.default_rng(0)
    full = all_distances(persons()) + generator.uniform(0, 0.3, (90, 90))
    np.fill_diagonal(full, 0)
    full[20:, :20] = full[:20, 20:].T
    expected = dense(full, 10, 4, 0.3, np.arange(20), np.arange(20, 90))
    result = retrieval.rerank_distances(full[:20, 20:], full[:20, :20], full[20:, 20:], 10, 4, 0.3)
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_squared_distances_may_be_negative():
    full = all_distances(persons()) ** 2 - 0.05
    np.fill_diagonal(full, -0.05)
    pieces = full[:20, 20:], full[:20, :20], full[20:, 20:]
    with pytest.raises(InputError, match="squared=True"):
        retrieval.rerank_distances(*pieces)
    result = retrieval.rerank_distances(*pieces, squared=True)
    assert np.isfinite(result).all()


def test_neighbourhoods_lift_a_match_that_plain_distance_misses():
    # The query's person spreads along a line; another person's point is nearer than the line's far end.
    line = np.stack([np.arange(6.0), np.zeros(6)], axis=1)
    other = np.array([[0.0, 4.5]]) + np.array([[0, 0], [0.2, 0], [0, 0.2], [-0.2, 0], [0, -0.2], [0.2, 0.2]])
    gallery = np.concatenate([line[1:], other]).astype(np.float32)
    query = line[:1].astype(np.float32)
    plain, better = retrieval.pairwise_distance(query, gallery), retrieval.rerank(query, gallery, k1=4, k2=2)
    assert plain[0, 4] > plain[0, 5:].min()
    assert better[0, 4] < better[0, 5:].min()


def test_equal_features_and_zero_vectors_give_finite_numbers():
    for features in (np.zeros((30, 4), np.float32), np.ones((30, 4), np.float32)):
        result = retrieval.rerank(features[:5], features[5:])
        assert np.isfinite(result).all()
    assert np.isfinite(retrieval.rerank(np.ones((1, 2)), np.zeros((1, 2)))).all()


def test_unusable_input_is_one_clear_sentence():
    features = persons()
    with pytest.raises(InputError, match="k1 and k2"):
        retrieval.rerank(features[:5], features[5:], k1=0)
    with pytest.raises(InputError, match="lambda_value"):
        retrieval.rerank(features[:5], features[5:], lambda_value=1.5)
    with pytest.raises(InputError, match="query_index must hold rows of the gallery"):
        retrieval.rerank(features[:2], features, query_index=[0, 90])
    with pytest.raises(InputError, match="query_index must have one entry"):
        retrieval.rerank(features[:2], features, query_index=[0])
    with pytest.raises(InputError, match="query_features has NaN"):
        retrieval.rerank(features[:2] * np.nan, features)
    full = all_distances(features)
    with pytest.raises(InputError, match="query_query must be of shape \\(5, 5\\)"):
        retrieval.rerank_distances(full[:5, 5:], full[:4, :4], full[5:, 5:])
    with pytest.raises(InputError, match="gallery_gallery"):
        retrieval.rerank_distances(full[:5, 5:], full[:5, :5], full[5:, 6:])
    for value in (np.inf, 1e25):
        with pytest.raises(InputError, match="gallery_gallery has infinite distances, or too large ones"):
            retrieval.rerank_distances(None, None, np.where(full > 1, value, full), query_index=[0])
    with pytest.raises(InputError, match="query_index must have one entry"):
        retrieval.rerank_distances(None, None, full, query_index=3)
