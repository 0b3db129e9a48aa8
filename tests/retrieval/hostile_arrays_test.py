"""Arrays that no one should pass, and those at the edge that one may: each a clear error or the documented result."""

import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError

GENERATOR = np.random.default_rng(0)
QUERY = GENERATOR.normal(size=(4, 6)).astype(np.float32)
GALLERY = GENERATOR.normal(size=(9, 6)).astype(np.float32)
QUERY_LABELS = np.array([1, 2, 3, 1]), np.array([1, 1, 1, 2])
GALLERY_LABELS = np.array([1, 2, 3, 1, 2, 3, 0, -1, 1]), np.array([2, 2, 2, 1, 3, 3, 1, 1, 3])


def labels(queries=slice(None), gallery=slice(None)):
    return (
        QUERY_LABELS[0][queries],
        GALLERY_LABELS[0][gallery],
        QUERY_LABELS[1][queries],
        GALLERY_LABELS[1][gallery],
    )


def metric(kind):
    camids = np.array([1, 1, 1, 1, 2, 2, 2, 2])
    pids = np.array([1, 2, 3, 4, 1, 2, 3, 4])
    features = np.random.default_rng(1).normal(size=(8, 6))
    return kind().fit(features[camids == 1], features[camids == 2], pids[camids == 1], pids[camids == 2])


# Every function of two sets of features.
OF_FEATURES = {
    "pairwise_distance": retrieval.pairwise_distance,
    "top_k": lambda a, b: retrieval.top_k(a, b, 1),
    "rerank": lambda a, b: retrieval.rerank(a, b, k1=3, k2=2),
    "xqda": lambda a, b: metric(retrieval.XQDA).distance(a, b),
    "kissme": lambda a, b: metric(retrieval.KISSME).distance(a, b),
    "top_t_distance": lambda a, b: retrieval.top_t_distance(a[:, None], b[:, None], 50),
}
# Every function of distances and labels.
OF_DISTANCES = {
    "rank": retrieval.rank,
    "verification": retrieval.verification,
    "identification": retrieval.identification,
}


@pytest.mark.parametrize("name", OF_FEATURES)
@pytest.mark.parametrize("side", [0, 1], ids=["query", "gallery"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_numbers_are_an_error(name, side, value):
    both = [QUERY.copy(), GALLERY.copy()]
    both[side][2, 3] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        OF_FEATURES[name](*both)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_features_whose_squares_are_too_large_are_an_error_or_do_not_matter(name):
    for a, b in ((QUERY * 1e25, GALLERY), (QUERY, GALLERY * 1e25)):
        if name == "top_t_distance":
            np.testing.assert_allclose(OF_FEATURES[name](a * 1e-19, b * 1e-19), OF_FEATURES[name](a, b), atol=1e-6)
        else:
            with pytest.raises(InputError, match="too large for squared distances in float32"):
                OF_FEATURES[name](a, b)


def test_the_largest_features_that_are_taken_have_finite_distances():
    rows = np.full((3, 2), 4.5e18, np.float32)
    assert np.isfinite(retrieval.pairwise_distance(rows, -rows, "sqeuclidean")).all()
    with pytest.raises(InputError, match=r"b has values too large .* as in row 2; scale the features down"):
        retrieval.pairwise_distance(rows, rows * np.array([[1], [1], [2]], np.float32))


@pytest.mark.parametrize("name", OF_FEATURES)
def test_an_empty_gallery_or_query_set_is_an_error(name):
    with pytest.raises(InputError, match=r"at least one row|none of them 0"):
        OF_FEATURES[name](QUERY, GALLERY[:0])
    with pytest.raises(InputError, match=r"at least one row|none of them 0"):
        OF_FEATURES[name](QUERY[:0], GALLERY)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_dimensions_that_differ_are_an_error(name):
    with pytest.raises(InputError, match="dimensions"):
        OF_FEATURES[name](QUERY[:, 1:], GALLERY)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_zero_vectors_give_finite_numbers(name):
    result = OF_FEATURES[name](np.zeros_like(QUERY), np.zeros_like(GALLERY))
    for values in result if isinstance(result, tuple) else (result,):
        assert np.isfinite(values).all()


@pytest.mark.parametrize("name", OF_FEATURES)
def test_one_query_is_a_row_of_many(name):
    if name == "rerank":  # whose neighbourhoods are made of the other queries, too
        index = np.array([2, 5])
        many = retrieval.rerank(GALLERY[index], GALLERY, k1=3, k2=2, query_index=index)
        one = retrieval.rerank(GALLERY[index[:1]], GALLERY, k1=3, k2=2, query_index=index[:1])
    else:
        many, one = OF_FEATURES[name](QUERY, GALLERY), OF_FEATURES[name](QUERY[:1], GALLERY)
        many, one = (found[0] if name == "top_k" else found for found in (many, one))
    assert one.shape == (1, many.shape[1])
    np.testing.assert_allclose(one[0], many[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OF_DISTANCES)
@pytest.mark.parametrize("place", range(4), ids=["query_pids", "gallery_pids", "query_camids", "gallery_camids"])
def test_labels_of_another_length_are_an_error_that_names_them(name, place):
    wrong = [np.append(values, 1) if i == place else values for i, values in enumerate(labels())]
    names = ("query_pids", "gallery_pids", "query_camids", "gallery_camids")
    with pytest.raises(InputError, match=f"{names[place]} must have one entry for each of"):
        OF_DISTANCES[name](np.zeros((4, 9), np.float32), *wrong)


@pytest.mark.parametrize("name", OF_DISTANCES)
def test_distances_that_are_not_numbers_or_empty_are_an_error(name):
    distances = np.zeros((4, 9), np.float32)
    distances[1, 2] = np.nan
    with pytest.raises(InputError, match="NaN values, the first at row 1, column 2"):
        OF_DISTANCES[name](distances, *labels())
    with pytest.raises(InputError, match="at least one row and column"):
        OF_DISTANCES[name](np.zeros((4, 0), np.float32), *labels(gallery=slice(0)))


def test_all_ties_rank_by_gallery_index():
    ranking = retrieval.rank(np.full((4, 9), 3.0, np.float32), *labels())
    # Query 0 (person 1, camera 1): row 3 is its own camera and row 7 junk; of 0 1 2 4 5 6 8 the good ones are 0 and 8.
    np.testing.assert_array_equal(ranking.match_gallery[:2], [0, 8])
    np.testing.assert_array_equal(ranking.match_rank[:2], [0, 6])
    np.testing.assert_allclose(ranking.average_precision[0], (1 + 2 / 7) / 2)
    np.testing.assert_allclose(retrieval.verification(np.full((4, 9), 3.0), *labels()).equal_error_rate, 0.5)
    _, nearest = retrieval.top_k(np.ones((2, 6)), np.ones((9, 6)), 4)
    np.testing.assert_array_equal(nearest, [[0, 1, 2, 3]] * 2)
    assert np.isfinite(retrieval.rerank(np.ones((2, 6)), np.ones((9, 6)))).all()


def test_a_gallery_of_junk_has_no_valid_query_and_no_rates():
    junk = np.full(9, -1)
    ranking = retrieval.rank(np.zeros((4, 9)), QUERY_LABELS[0], junk, QUERY_LABELS[1], GALLERY_LABELS[1])
    assert (ranking.num_valid_queries, ranking.num_gallery) == (0, 0)
    assert np.isnan([ranking.mAP, ranking.mAP_trapezoid, *ranking.cmc]).all()
    for cmc in ("allshots", "single_gallery_shot"):
        again = retrieval.rank(np.zeros((4, 9)), QUERY_LABELS[0], junk, QUERY_LABELS[1], GALLERY_LABELS[1], cmc=cmc)
        assert np.isnan(again.cmc).all()
    for name in ("verification", "identification"):
        with pytest.raises(InputError, match="at least one"):
            OF_DISTANCES[name](np.zeros((4, 9)), QUERY_LABELS[0], junk, QUERY_LABELS[1], GALLERY_LABELS[1])


def test_one_query_against_one_tracklet():
    ranking = retrieval.rank(np.array([[2.0]]), [1], [1], [1], [2])
    assert (ranking.mAP, ranking.mAP_trapezoid, ranking.rank(1), ranking.num_gallery) == (1.0, 1.0, 1.0, 1)
    assert np.isfinite(retrieval.rerank(QUERY[:1], GALLERY[:1])).all()


@pytest.mark.parametrize("kind", [retrieval.XQDA, retrieval.KISSME])
def test_a_metric_is_not_taught_by_nothing(kind):
    with pytest.raises(InputError, match="at least one row"):
        kind().fit(GALLERY[:0], GALLERY, [], np.ones(9, int))
    with pytest.raises(InputError, match="dimensions"):
        kind().fit(QUERY[:, 1:], GALLERY, [1] * 4, [1] * 9)
    with pytest.raises(InputError, match="NaN or infinite"):
        kind().fit(QUERY, GALLERY * np.nan, [1] * 4, [1] * 9)
    pids, equal = np.array([1, 2, 3, 1]), np.ones((4, 6))
    with pytest.raises(InputError, match=r"all (training features are )?equal"):
        kind().fit(equal, equal, pids, pids)


def test_tracklets_without_numbers_select_nothing():
    with pytest.raises(InputError, match="NaN"):
        retrieval.select_tracklets(GALLERY * np.nan, GALLERY_LABELS[0], GALLERY_LABELS[1])
    with pytest.raises(InputError, match="pids must have one entry"):
        retrieval.select_tracklets(GALLERY, GALLERY_LABELS[0][1:], GALLERY_LABELS[1])
    with pytest.raises(InputError, match="no tracklet has a person's identity"):
        retrieval.select_tracklets(GALLERY, np.zeros(9, int), GALLERY_LABELS[1])
