import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError

# On a line: person 5 twice in camera 1 and twice in camera 2, person 7 once in cameras 1 and 3, person 8 in camera 1
# only; two distractors, one junk tracklet.
FEATURES = np.array([[0.0], [2.0], [10.0], [14.0], [100.0], [104.0], [200.0], [50.0], [60.0], [1.0]], np.float32)
PIDS = np.array([5, 5, 5, 5, 7, 7, 8, 0, 0, -1])
CAMIDS = np.array([1, 1, 2, 2, 1, 3, 1, 1, 2, 1])


def test_all_against_all_worked_by_hand():
    selected = retrieval.select_tracklets(FEATURES, PIDS, CAMIDS, probe="all", gallery="all")
    np.testing.assert_array_equal(selected.query_pids, [5, 5, 7, 7, 8])
    np.testing.assert_array_equal(selected.gallery_pids, [5, 7, 8, 0, 0])
    # Probe means 1, 12, 100, 104, 200. Person 5 is 6.5 to others, 12 to its camera 1, 1 to its camera 2.
    expected = [
        [12 - 1, 102 - 1, 199, 49, 59],
        [12 - 1, 102 - 12, 188, 38, 48],
        [93.5, 4, 100, 50, 40],
        [97.5, 4, 96, 54, 44],
        [193.5, 98, 0, 150, 140],
    ]
    np.testing.assert_allclose(selected.distances, expected, rtol=1e-5)
    ranking = retrieval.rank(*selected)
    np.testing.assert_array_equal(ranking.valid, [True, True, True, True, False])  # nobody else saw person 8
    assert ranking.rank(1) == 1.0


@pytest.mark.parametrize("probe", ["random", "all"])
@pytest.mark.parametrize("gallery", ["random", "all"])
def test_draws_are_of_the_right_tracklets_and_repeat_with_the_seed(probe, gallery):
    seen = set()
    for seed in range(30):
        selected = retrieval.select_tracklets(FEATURES, PIDS, CAMIDS, probe, gallery, seed)
        again = retrieval.select_tracklets(FEATURES, PIDS, CAMIDS, probe, gallery, seed)
        np.testing.assert_array_equal(selected.distances, again.distances)
        seen.add(float(selected.distances[0, 0]))
    left = {"random": {0, 2}, "all": {1}}[probe]
    right = {"random": {10, 14}, "all": {12}}[gallery]
    assert seen == {float(r - l) for l in left for r in right}


def test_the_distance_may_be_learned():
    selected = retrieval.select_tracklets(
        FEATURES, PIDS, CAMIDS, "all", "all", distance=lambda a, b: -np.abs(a - b.T).astype(np.float32)
    )
    np.testing.assert_allclose(selected.distances[2], [-93.5, -4, -100, -50, -40])


def test_ten_draws_are_averaged():
    summaries = [
        retrieval.rank(*retrieval.select_tracklets(FEATURES, PIDS, CAMIDS, seed=seed)).summary() for seed in range(10)
    ]
    mean, _ = retrieval.mean_std_over_splits(summaries)
    assert (mean["num_valid_queries"], mean["rank1"]) == (4, 1.0)


def test_unusable_input_is_one_clear_sentence():
    with pytest.raises(InputError, match="probe must be one of"):
        retrieval.select_tracklets(FEATURES, PIDS, CAMIDS, probe="some")
    with pytest.raises(InputError, match="no tracklet has a person's identity"):
        retrieval.select_tracklets(FEATURES, np.zeros(10, int), CAMIDS)
    with pytest.raises(InputError, match="camids"):
        retrieval.select_tracklets(FEATURES, PIDS, CAMIDS[1:])
