"""Thresholds without labels: hand-worked rates, intervals over tracklets, and refusals with numbers."""

import dataclasses

import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.linking import find_band, given_band, measure
from vreid_jax.linking.calibrating import simultaneous_pairs, thresholds, with_true_accepts
from vreid_jax.linking.distances import pair_distances


def test_pairs_seen_at_the_same_time_are_those_of_a_double_loop():
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 30, 60)
    times = np.stack([start, start + rng.exponential(4, 60)], 1)
    times[7] = np.nan
    cameras = rng.integers(0, 3, 60)
    expected = [
        (a, b)
        for a in range(60)
        for b in range(a + 1, 60)
        if cameras[a] == cameras[b] and times[a, 0] <= times[b, 1] and times[b, 0] <= times[a, 1]
    ]
    found = simultaneous_pairs(times, cameras)
    assert sorted(map(tuple, found.tolist())) == expected
    some = simultaneous_pairs(times, cameras, most=20)
    assert len(set(map(tuple, some.tolist()))) == 20
    assert set(map(tuple, some.tolist())) <= set(expected)


def test_a_threshold_is_just_below_the_first_distance_that_is_too_much():
    distances = np.array([1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    found = thresholds(distances, np.ones(10), [0.1, 0.2, 0.3, 0.4, 0.09])
    expected = [2.0, 2.0, 3.0, 4.0, 1.0]  # of two at a distance of 2 both are rejected
    np.testing.assert_array_equal(found, np.nextafter(expected, 0))
    weights = np.array([0.0, 2, 0, 1, 1, 1, 1, 1, 1, 2])
    np.testing.assert_array_equal(thresholds(distances, weights, [0.2, 0.3]), np.nextafter([3.0, 4.0], 0))


def crowd(sightings, tracklets, dimensions=16, seed=0):
    """One crowd, all at once."""
    vectors = np.random.default_rng(seed).standard_normal((tracklets, dimensions))
    return sightings(vectors, times=[(0, 9)] * tracklets)


def test_the_rates_are_those_of_the_pairs_and_only_those_that_they_can_show(sightings):
    sights = crowd(sightings, 30)
    found = measure(sights, 0.01)
    assert (found.pairs, found.tracklets) == (435, 30)
    assert found.false_accept_rate == (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    one, other = np.triu_indices(30, 1)
    vectors = sights.vectors.astype(np.float64)
    distances = np.sort(np.linalg.norm(vectors[one] - vectors[other], axis=1))
    np.testing.assert_allclose(found.threshold[0], distances[4], rtol=1e-6)  # four of 435 are below
    assert all(a <= b <= c for a, b, c in zip(found.low, found.threshold, found.high, strict=True))
    assert found == measure(sights, 0.01)


def test_the_interval_is_over_tracklets_so_that_one_odd_tracklet_widens_it(sightings):
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((40, 16))
    even = measure(sightings(vectors, times=[(0, 9)] * 40), 0.05)
    vectors[0] *= 0.0  # in the middle of all: near to everybody
    odd = measure(sightings(vectors, times=[(0, 9)] * 40), 0.05)
    widths = [found.high[place] - found.low[place] for found in (even, odd) for place in [found.place(0.05)]]
    assert widths[1] > 1.2 * widths[0]


def test_too_few_pairs_are_refused_with_the_numbers(sightings):
    with pytest.raises(
        InputError,
        match=r"g.parquet has 45 pairs of tracklets seen at the same time, of 10 tracklets; a false-accept rate of 0.01 takes "
        r"at least 300 pairs and 6 tracklets; there is too little footage: film for longer$",
    ):
        measure(crowd(sightings, 10), 0.01)
    assert measure(crowd(sightings, 10), 0.067).false_accept_rate[0] == 0.067
    with pytest.raises(
        InputError, match=r"has 0 pairs .* at least 300 pairs and 6 tracklets; there is too little footage"
    ):
        measure(sightings(np.zeros((9, 2))), 0.01)
    with pytest.raises(InputError, match=r"the false-accept rate is 0.7; it must be above 0 and at most 0.5"):
        measure(crowd(sightings, 10), 0.7)


def test_ends_of_tracklets_with_their_drift_stand_for_pairs_of_one_person(sightings):
    calibration = measure(crowd(sightings, 30), 0.01)
    low = calibration.low[calibration.place(0.01)]
    # Squared steps of 0.04 and ends of 0.36: a drift of 0.32 is added once more.
    steps = np.array([[0.0], [0.2], [0.4], [0.6]])
    found = with_true_accepts(calibration, np.stack([steps, steps, steps + 50]))
    assert found.pieces == 3
    np.testing.assert_allclose(found.drift, 0.32, rtol=1e-6)
    assert found.true_accept_rate == tuple(float(np.sqrt(0.68) <= each) for each in found.low)
    far = with_true_accepts(calibration, np.stack([steps, steps / 0.6 * (1.01 * low)]))
    assert set(far.true_accept_rate) <= {0.0, 0.5, 1.0}


def test_pair_distances_are_those_of_the_metric():
    vectors = np.array([[1.0, 0], [0.6, 0.8], [0, 1]], np.float32)
    pairs = np.array([[0, 1], [0, 2]])
    np.testing.assert_allclose(pair_distances(vectors, pairs, "cosine"), [0.4, 1.0], rtol=1e-6)
    np.testing.assert_allclose(pair_distances(vectors, pairs, "sqeuclidean"), [0.8, 2.0], rtol=1e-6)
    np.testing.assert_allclose(pair_distances(vectors, pairs, "euclidean"), np.sqrt([0.8, 2.0]), rtol=1e-6)


def test_a_band_is_measured_on_the_footage_or_given(sightings):
    band = find_band(crowd(sightings, 30), 0.01)
    assert band.threshold < band.perhaps
    assert band.origin == "1 % of 435 pairs of tracklets seen at the same time are nearer, as measured here"
    few = find_band(crowd(sightings, 8), 0.01)
    assert few.origin.startswith("none of 28 pairs")
    vectors = crowd(sightings, 8).vectors
    nearest = min(np.linalg.norm(vectors[a] - vectors[b]) for a in range(8) for b in range(a))
    np.testing.assert_allclose(few.threshold, nearest, rtol=1e-6)
    with pytest.raises(InputError, match=r"has 0 pairs .* or give the largest distance of one person with --threshold"):
        find_band(sightings(np.zeros((9, 2))), 0.01)
    assert (given_band(2.0).threshold, given_band(2.0).perhaps) == (2.0, 2.5)
    with pytest.raises(InputError, match=r"--threshold=-1 must be a distance above 0"):
        given_band(-1.0)


@pytest.mark.parametrize("no_overlap", [False, True])
def test_who_walks_over_the_seam_of_two_recordings_is_not_a_pair_of_two_people(sightings, no_overlap):
    vectors = np.random.default_rng(2).standard_normal((16, 8))
    vectors[8] = vectors[7] + 1e-3
    times = [(0, 10)] * 8 + [(9, 20)] * 8
    whole = sightings(vectors, times=times)
    cut = dataclasses.replace(whole, recordings=np.repeat([0, 1], 8))
    assert measure(whole, 0.1, shown=False, no_overlap=no_overlap).pairs == 120
    found = measure(cut, 0.1, shown=False, no_overlap=no_overlap)
    assert found.pairs == 56
    assert find_band(cut, 0.005, no_overlap=no_overlap).threshold > 0.1 > find_band(whole, 0.005).threshold
