"""What must hold for any distances and any identities, drawn by hypothesis; the same draws every time."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vreid_jax import retrieval

QUIET = settings(derandomize=True, deadline=None, max_examples=60, database=None)


@st.composite
def problems(draw):
    """Arguments of `rank`, small, with ties, distractors, junk, and queries that nobody matches."""
    queries, gallery = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    levels = st.integers(0, draw(st.sampled_from([0, 3, 1000])))

    def vector(length, low, high):
        return np.array(draw(st.lists(st.integers(low, high), min_size=length, max_size=length)), np.int64)

    distances = draw(st.lists(levels, min_size=queries * gallery, max_size=queries * gallery))
    return (
        np.array(distances, np.float32).reshape(queries, gallery) / 7,
        vector(queries, -1, 4),
        vector(gallery, -1, 4),
        vector(queries, 1, 3),
        vector(gallery, 1, 3),
    )


def scores(ranking):
    return np.concatenate([ranking.cmc, ranking.average_precision, ranking.average_precision_trapezoid])


@QUIET
@given(problems(), st.randoms(use_true_random=False))
def test_permuting_the_gallery_changes_nothing(problem, random):
    distances, query_pids, gallery_pids, query_camids, gallery_camids = problem
    # Ties go by index, so that only an order that leaves equal distances in place must change nothing.
    distances = distances + np.arange(distances.shape[1], dtype=np.float32)[None] / 1e4
    order = np.array(random.sample(range(len(gallery_pids)), len(gallery_pids)))
    before = retrieval.rank(distances, query_pids, gallery_pids, query_camids, gallery_camids)
    after = retrieval.rank(distances[:, order], query_pids, gallery_pids[order], query_camids, gallery_camids[order])
    np.testing.assert_allclose(scores(after), scores(before), rtol=1e-12)
    np.testing.assert_array_equal(after.first_match, before.first_match)


@QUIET
@given(problems(), st.lists(st.tuples(st.integers(0, 12), st.integers(-3, 3000)), min_size=1, max_size=5))
def test_adding_junk_anywhere_at_any_distance_changes_nothing(problem, junk):
    distances, query_pids, gallery_pids, query_camids, gallery_camids = problem
    place = np.array([min(where, len(gallery_pids)) for where, _ in junk])
    values = np.array([value for _, value in junk], np.float32) / 7
    after = retrieval.rank(
        np.insert(distances, place, np.repeat(values[None], len(distances), axis=0), axis=1),
        query_pids,
        np.insert(gallery_pids, place, -1),
        query_camids,
        np.insert(gallery_camids, place, 1),
    )
    before = retrieval.rank(*problem)
    np.testing.assert_array_equal(scores(after), scores(before))
    assert after.num_gallery == before.num_gallery


@QUIET
@given(problems(), st.integers(0, 11))
def test_removing_a_negative_never_lowers_average_precision(problem, column):
    distances, query_pids, gallery_pids, query_camids, gallery_camids = problem
    if len(gallery_pids) < 2:
        return
    column %= len(gallery_pids)
    keep = np.arange(len(gallery_pids)) != column
    before = retrieval.rank(*problem)
    after = retrieval.rank(distances[:, keep], query_pids, gallery_pids[keep], query_camids, gallery_camids[keep])
    rows = before.valid & (query_pids != gallery_pids[column])
    np.testing.assert_array_equal(after.valid[rows], True)
    assert np.all(after.average_precision[rows] >= before.average_precision[rows])
    assert np.all(after.average_precision_trapezoid[rows] >= before.average_precision_trapezoid[rows])


@QUIET
@given(problems())
def test_scores_stay_in_their_range_and_the_curve_never_falls(problem):
    ranking = retrieval.rank(*problem)
    for values in (ranking.average_precision, ranking.average_precision_trapezoid):
        assert np.all((values[ranking.valid] > 0) & (values[ranking.valid] <= 1))
        assert np.isnan(values[~ranking.valid]).all()
    if ranking.num_valid_queries:
        assert np.all(np.diff(ranking.cmc) >= 0)
        assert ranking.cmc[-1] == 1.0  # the gallery is shorter than the curve
