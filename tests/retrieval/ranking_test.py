import itertools
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
