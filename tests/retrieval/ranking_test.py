from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError
from vreid_jax.retrieval import ranking

GOLDEN = Path(__file__).parents[1] / "golden" / "retrieval.npz"


def dense(distances, query_pids, gallery_pids, query_camids, gallery_camids, max_rank=50):
    """The rule of the field written down row by row: sort, drop what is ignored, look."""
    cmc, standard, trapezoid = [], [], []
    for q in range(len(distances)):
        order = sorted(range(len(gallery_pids)), key=lambda g: (distances[q, g], g))
        kept = [
            g
            for g in order
            if gallery_pids[g] != -1 and not (gallery_pids[g] == query_pids[q] and gallery_camids[g] == query_camids[q])
        ]
        hits = [i for i, g in enumerate(kept) if gallery_pids[g] == query_pids[q]] if query_pids[q] > 0 else []
        if not hits:
            standard.append(np.nan)
            trapezoid.append(np.nan)
            continue
        cmc.append([float(hits[0] <= k) for k in range(max_rank)])
        standard.append(np.mean([(j + 1) / (p + 1) for j, p in enumerate(hits)]))
        trapezoid.append(np.mean([((j + 1) / (p + 1) + (j / p if p else 1)) / 2 for j, p in enumerate(hits)]))
    return (np.mean(cmc, axis=0) if cmc else np.full(max_rank, np.nan)), np.array(standard), np.array(trapezoid)


def example(seed, queries=12, gallery=60, identities=5, cameras=3, levels=None):
    generator = np.random.default_rng(seed)
    distances = generator.normal(size=(queries, gallery)).astype(np.float32)
    if levels:
        distances = np.round(distances * levels).astype(np.float32)
    return (
        distances,
        generator.integers(1, identities + 1, queries),
        generator.integers(-1, identities + 1, gallery),
        generator.integers(1, cameras + 1, queries),
        generator.integers(1, cameras + 1, gallery),
    )


def check(result, expected):
    for got, wanted in zip(
        (result.cmc, result.average_precision, result.average_precision_trapezoid), expected, strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_the_official_code_s_numbers():
    golden = np.load(GOLDEN)
    features, pids, camids, queries = (golden[k] for k in ("features", "pids", "camids", "query_index"))
    distances = retrieval.pairwise_distance(features[queries], features)
    result = retrieval.rank(distances, pids[queries], pids, camids[queries], camids)
    np.testing.assert_allclose(result.average_precision_trapezoid, golden["ap_trapezoid"], rtol=1e-12)
    np.testing.assert_allclose(result.cmc, golden["cmc_official"], rtol=1e-12)
    np.testing.assert_allclose(result.mAP, golden["map_standard"], rtol=1e-12)
    np.testing.assert_allclose(result.cmc[:20], golden["cmc_standard"], rtol=1e-6)
    rows = golden["gallery_without_queries"]
    result = retrieval.rank(distances[:, rows], pids[queries], pids[rows], camids[queries], camids[rows])
    np.testing.assert_allclose(result.mAP, golden["map_query_free_gallery"], rtol=1e-12)
    np.testing.assert_allclose(result.cmc[:20], golden["cmc_query_free_gallery"], rtol=1e-6)


def test_one_query_worked_by_hand():
    # From near to far: same camera (ignored), good, distractor, junk (ignored), good, another person.
    # Good ranks are 0 and 2: standard (1/1 + 2/3) / 2, trapezoid ((1 + 1)/2 + (2/3 + 1/2)/2) / 2.
    result = retrieval.rank(
        np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]], np.float32), [7], [7, 7, 0, -1, 7, 9], [1], [1, 2, 2, 2, 3, 2]
    )
    np.testing.assert_allclose(result.average_precision, [5 / 6])
    np.testing.assert_allclose(result.average_precision_trapezoid, [(1 + 7 / 12) / 2])
    np.testing.assert_array_equal(result.cmc, np.ones(50))
    np.testing.assert_array_equal(result.match_gallery, [1, 4])
    np.testing.assert_array_equal(result.match_rank, [0, 2])
    assert (result.num_queries, result.num_valid_queries, result.num_gallery) == (1, 1, 5)
    assert result.mAP == pytest.approx(5 / 6)
    assert result.rank(1) == 1.0


@pytest.mark.parametrize("most_counted", [0, 1000])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [None, 2])
def test_equals_the_row_by_row_rule(monkeypatch, seed, levels, most_counted):
    monkeypatch.setattr(ranking, "MOST_GOOD_COUNTED", most_counted)
    arguments = example(seed, levels=levels)
    check(retrieval.rank(*arguments), dense(*arguments))


def test_jax_arrays_in_numpy_out():
    arguments = example(0)
    result = retrieval.rank(*(jnp.asarray(a) for a in arguments))
    assert isinstance(result.cmc, np.ndarray)
    check(result, dense(*arguments))
    low = jnp.asarray(arguments[0], jnp.bfloat16)
    check(retrieval.rank(low, *arguments[1:]), dense(np.asarray(low, np.float32), *arguments[1:]))


def test_ties_go_to_the_smaller_gallery_index():
    arguments = ([1], [2, 1, 2, 1], [1], [2, 2, 2, 2])
    result = retrieval.rank(np.zeros((1, 4), np.float32), *arguments)
    np.testing.assert_array_equal(result.match_rank, [1, 3])
    np.testing.assert_allclose(result.average_precision, [(1 / 2 + 2 / 4) / 2])


def test_distances_are_compared_in_the_dtype_given():
    near = np.array([[1.0 + 1e-12, 1.0]])
    pids = ([1], [1, 2], [1], [2, 2])
    assert retrieval.rank(near, *pids).rank(1) == 0.0
    assert retrieval.rank(near.astype(np.float32), *pids).rank(1) == 1.0  # equal in float32: the smaller index


def test_infinite_distances_rank_last_but_count():
    result = retrieval.rank(np.array([[np.inf, np.inf, 0.0]]), [1], [2, 1, 2], [1], [2, 2, 1])
    np.testing.assert_array_equal(result.match_rank, [2])


def test_a_query_without_a_match_is_counted_but_enters_no_mean():
    distances = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], np.float32)
    result = retrieval.rank(distances, [1, 5, 2], [1, 2], [1, 1, 2], [2, 2])
    np.testing.assert_array_equal(result.valid, [True, False, False])  # 5 is nowhere, 2 only in its own camera
    np.testing.assert_array_equal(result.average_precision, [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(result.first_match, [0, -1, -1])
    assert (result.num_queries, result.num_valid_queries, result.mAP) == (3, 1, 1.0)


@pytest.mark.parametrize("gallery_pid", [-1, 0, 9])
def test_without_a_valid_query_scores_are_nan(gallery_pid):
    result = retrieval.rank(np.zeros((2, 3), np.float32), [1, -1], [gallery_pid] * 3, [1, 1], [2, 2, 2])
    assert result.num_valid_queries == 0
    assert np.isnan([result.mAP, result.mAP_trapezoid, *result.cmc]).all()
    assert np.isnan(result.average_precision).all()


def test_distractors_and_junk_match_nobody_not_even_each_other():
    result = retrieval.rank(np.zeros((2, 2), np.float32), [0, -1], [0, -1], [1, 1], [2, 2])
    assert result.num_valid_queries == 0


@pytest.mark.parametrize("max_rank", [1, 3, 200])
def test_cmc_has_the_depth_asked_for(max_rank):
    arguments = example(3)
    result = retrieval.rank(*arguments, max_rank=max_rank)
    assert result.cmc.shape == (max_rank,)
    np.testing.assert_allclose(result.cmc, dense(*arguments, max_rank=max_rank)[0])
    with pytest.raises(InputError, match="max_rank"):
        result.rank(max_rank + 1)


def test_allshots_counts_every_match_behind_negatives_only():
    # Good at ranks 0, 2 and 3: without good ones before them 0, 1, 1, weighted one third each.
    distances = np.array([[0.1, 0.2, 0.3, 0.4]])
    result = retrieval.rank(distances, [1], [1, 2, 1, 1], [1], [2, 2, 2, 2], cmc="allshots", max_rank=3)
    np.testing.assert_allclose(result.cmc, [1 / 3, 1, 1])
    np.testing.assert_allclose(result.average_precision, [(1 + 2 / 3 + 3 / 4) / 3])


def test_single_gallery_shot_draws_one_of_each_identity():
    # One row each: the draw has no choice. Identity 2 has two rows, of which only one stands before the match.
    distances = np.array([[0.2, 0.1, 0.3]])
    always = retrieval.rank(distances, [1], [1, 2, 3], [1], [2, 2, 2], cmc="single_gallery_shot", max_rank=2)
    np.testing.assert_allclose(always.cmc, [0, 1])
    result = retrieval.rank(
        distances, [1], [1, 2, 2], [1], [2, 2, 2], cmc="single_gallery_shot", repeats=2000, max_rank=2
    )
    np.testing.assert_allclose(result.cmc, [0.5, 1], atol=0.05)
    again = retrieval.rank(distances, [1], [1, 2, 2], [1], [2, 2, 2], cmc="single_gallery_shot", repeats=2000)
    assert again.cmc[0] == result.cmc[0]


def test_single_gallery_shot_equals_the_first_match_where_every_identity_has_one_row():
    generator = np.random.default_rng(0)
    distances = generator.normal(size=(20, 20))
    pids = np.arange(1, 21)
    arguments = (distances, pids, pids, np.ones(20, int), np.full(20, 2))
    np.testing.assert_allclose(
        retrieval.rank(*arguments, cmc="single_gallery_shot").cmc, retrieval.rank(*arguments).cmc, rtol=1e-12
    )


@pytest.mark.parametrize("seed", range(20))
def test_permuting_the_gallery_changes_nothing(seed):
    distances, query_pids, gallery_pids, query_camids, gallery_camids = example(seed)
    order = np.random.default_rng(seed).permutation(len(gallery_pids))
    before = retrieval.rank(distances, query_pids, gallery_pids, query_camids, gallery_camids)
    after = retrieval.rank(distances[:, order], query_pids, gallery_pids[order], query_camids, gallery_camids[order])
    check(after, (before.cmc, before.average_precision, before.average_precision_trapezoid))


@pytest.mark.parametrize("seed", range(20))
def test_adding_junk_changes_nothing(seed):
    distances, query_pids, gallery_pids, query_camids, gallery_camids = example(seed, levels=2)
    generator = np.random.default_rng(seed)
    before = retrieval.rank(distances, query_pids, gallery_pids, query_camids, gallery_camids)
    junk = np.round(generator.normal(size=(len(distances), 7)) * 2).astype(np.float32)
    place = generator.integers(0, distances.shape[1], 7)
    after = retrieval.rank(
        np.insert(distances, place, junk, axis=1),
        query_pids,
        np.insert(gallery_pids, place, -1),
        query_camids,
        np.insert(gallery_camids, place, 1),
    )
    check(after, (before.cmc, before.average_precision, before.average_precision_trapezoid))
    assert after.num_gallery == before.num_gallery


@pytest.mark.parametrize("seed", range(20))
def test_removing_a_negative_never_lowers_average_precision(seed):
    distances, query_pids, gallery_pids, query_camids, gallery_camids = example(seed, levels=2)
    before = retrieval.rank(distances, query_pids, gallery_pids, query_camids, gallery_camids)
    for column in range(0, distances.shape[1], 5):
        keep = np.arange(distances.shape[1]) != column
        negative_of = query_pids != gallery_pids[column]
        after = retrieval.rank(distances[:, keep], query_pids, gallery_pids[keep], query_camids, gallery_camids[keep])
        rows = before.valid & negative_of
        assert np.all(after.average_precision[rows] >= before.average_precision[rows])
        assert np.all(after.average_precision_trapezoid[rows] >= before.average_precision_trapezoid[rows])


def test_summary_is_the_entry_of_the_results_file():
    summary = retrieval.rank(*example(0)).summary()
    assert list(summary) == [
        "num_queries",
        "num_valid_queries",
        "num_gallery",
        "mAP",
        "mAP_trapezoid",
        "rank1",
        "rank5",
        "rank10",
        "rank20",
        "cmc",
    ]
    assert summary["rank5"] == summary["cmc"][4]
    assert all(type(value) in (int, float, list) for value in summary.values())


GOOD = (np.zeros((2, 3), np.float32), [1, 2], [1, 2, 3], [1, 1], [2, 2, 2])


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, np.full((2, 3), np.nan), "NaN values, the first at row 0, column 0"),
        (0, np.zeros((2, 0)), "at least one row and column"),
        (0, np.zeros((0, 3)), "at least one row and column"),
        (0, np.zeros(3), "must be a \\[Q, G\\] array"),
        (0, np.full((2, 3), 2**53 + 1), "integers from 2\\*\\*53"),
        (0, np.zeros((2, 3), np.longdouble), "not compared as it is: pass float64"),
        (0, np.zeros((2, 3), complex), "is of complex128"),
        (1, [1, 2, 3], "query_pids must have one entry for each of 2 rows"),
        (2, [1, 2], "gallery_pids must have one entry for each of 3 rows"),
        (3, [1], "query_camids"),
        (4, [], "gallery_camids"),
        (1, [1.5, 2.0], "query_pids must be integers"),
    ],
)
def test_unusable_input_is_one_clear_sentence(position, value, message):
    arguments = list(GOOD)
    arguments[position] = value
    with pytest.raises(InputError, match=message):
        retrieval.rank(*arguments)


def test_unknown_options_are_input_errors():
    for impossible in ({"repeats": 0}, {"seed": -1}):
        with pytest.raises(InputError, match="repeats must be at least 1 and seed not negative"):
            retrieval.rank(np.ones((1, 1)), [1], [1], [1], [2], cmc="single_gallery_shot", **impossible)
    with pytest.raises(InputError, match="max_rank"):
        retrieval.rank(*GOOD, max_rank=0)
    with pytest.raises(InputError, match="cmc must be one of"):
        retrieval.rank(*GOOD, cmc="none")
