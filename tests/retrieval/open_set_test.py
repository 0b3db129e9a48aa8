import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError


def curve(genuine, impostor):
    return retrieval.AcceptCurve(np.sort(np.asarray(genuine, float)), np.sort(np.asarray(impostor, float)))


def test_rates_and_thresholds_worked_by_hand():
    rates = curve([1, 2, 3, 6], [4, 5, 7, 8, 9, 10, 11, 12, 13, 14])
    assert (rates.true_accept_rate(3), rates.false_accept_rate(3)) == (0.75, 0.0)
    assert (rates.true_accept_rate(6), rates.false_accept_rate(6)) == (1.0, 0.2)
    np.testing.assert_array_equal(rates.false_accept_rate(np.array([0, 4, 14])), [0, 0.1, 1])
    assert rates.true_accept_rate_at(0.0) == 0.75
    assert rates.true_accept_rate_at(0.1) == 0.75
    assert rates.true_accept_rate_at(0.2) == 1.0
    assert rates.false_accept_rate(rates.threshold_at(0.3)) == 0.3
    assert rates.false_accept_rate(rates.threshold_at(1.0)) == 1.0
    # At 5 two tenths of the impostors and three quarters of the genuine pass, at 4 one tenth: |FAR - FRR| is 0.05 there.
    assert rates.equal_error_rate == pytest.approx((0.2 + 0.25) / 2)


def test_separated_and_identical_distances():
    assert curve([1, 2], [3, 4]).equal_error_rate == 0.0
    assert curve([3, 4], [1, 2]).equal_error_rate == 1.0
    same = curve([1] * 5, [1] * 5)
    assert same.equal_error_rate == 0.5
    assert same.false_accept_rate(same.threshold_at(0.5)) == 0.0  # ties are rejected together


def test_equal_error_rate_of_two_normal_distributions():
    generator = np.random.default_rng(0)
    rates = curve(generator.normal(0, 1, 20000), generator.normal(2, 1, 20000))
    assert rates.equal_error_rate == pytest.approx(0.1587, abs=0.005)  # Φ(-1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("far", [0.0, 0.001, 0.01, 0.1, 0.37, 1.0])
def test_a_threshold_keeps_its_false_accept_rate_and_is_the_largest_that_does(dtype, far):
    generator = np.random.default_rng(0)
    impostor = np.sort(np.round(generator.normal(size=1000), 2).astype(dtype))
    rates = retrieval.AcceptCurve(np.sort(generator.normal(size=50).astype(dtype)), impostor)
    threshold = rates.threshold_at(far)
    assert rates.false_accept_rate(threshold) <= far
    if far < 1:
        assert rates.false_accept_rate(np.nextafter(dtype(threshold), dtype(np.inf))) > far


def test_the_curve_rises_from_its_first_genuine_distance_to_one():
    generator = np.random.default_rng(0)
    false_rate, true_rate, thresholds = curve(generator.normal(size=40), generator.normal(1, 1, 300)).roc()
    assert np.all(np.diff(thresholds) > 0)
    assert np.all(np.diff(true_rate) > 0)
    assert np.all(np.diff(false_rate) >= 0)
    assert (true_rate[0], true_rate[-1]) == (1 / 40, 1.0)


def example():
    generator = np.random.default_rng(0)
    return (
        generator.normal(size=(8, 30)).astype(np.float32),
        generator.integers(1, 9, 8),
        generator.integers(-1, 5, 30),
        generator.integers(1, 3, 8),
        generator.integers(1, 4, 30),
    )


def test_verification_takes_every_pair_that_is_not_ignored():
    distances, query_pids, gallery_pids, query_camids, gallery_camids = example()
    same = query_pids[:, None] == gallery_pids[None]
    ignored = (same & (query_camids[:, None] == gallery_camids[None])) | (gallery_pids == -1)[None]
    rates = retrieval.verification(*example())
    np.testing.assert_array_equal(rates.genuine, np.sort(distances[same & ~ignored]))
    np.testing.assert_array_equal(rates.impostor, np.sort(distances[~same & ~ignored]))


def test_identification_looks_at_the_nearest_only():
    # Query 1 finds itself (its own camera's row is ignored), query 2 finds another person, query 9 is unknown.
    distances = np.array([[0.1, 0.5, 0.6, 0.0], [9.0, 0.2, 0.3, 0.0], [0.7, 0.8, 0.9, 0.0]])
    rates = retrieval.identification(distances, [1, 2, 9], [1, 1, 2, -1], [1, 1, 1], [1, 2, 2, 2])
    np.testing.assert_array_equal(rates.genuine, [0.5, np.inf])
    np.testing.assert_array_equal(rates.impostor, [0.7])
    assert rates.true_accept_rate_at(0.0) == 0.5
    assert rates.true_accept_rate(1e9) == 0.5


def test_without_pairs_of_a_kind_there_are_no_rates():
    with pytest.raises(InputError, match="at least one pair of the same person"):
        retrieval.verification(np.zeros((1, 1)), [1], [2], [1], [2])
    with pytest.raises(InputError, match="at least one pair of two persons"):
        retrieval.verification(np.zeros((1, 1)), [1], [1], [1], [2])
    with pytest.raises(InputError, match="at least one query without a match"):
        retrieval.identification(np.zeros((1, 1)), [1], [1], [1], [2])
    with pytest.raises(InputError, match="NaN"):
        retrieval.verification(np.full((1, 1), np.nan), [1], [1], [1], [2])
    with pytest.raises(InputError, match="fraction"):
        curve([1], [2]).threshold_at(5)
