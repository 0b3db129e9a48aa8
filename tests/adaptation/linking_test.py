"""Links and separations against cases worked out by hand."""

import numpy as np
import pytest

from vreid_jax.adaptation.linking import link, relate


def table(pairs, count, far=0.9):
    """A symmetric table of distances: those of `pairs`, all others `far`."""
    distances = np.full((count, count), far)
    np.fill_diagonal(distances, 0.0)
    for (i, j), value in pairs.items():
        distances[i, j] = distances[j, i] = value
    return distances


def never(pairs, count):
    found = np.zeros((count, count), bool)
    for i, j in pairs:
        found[i, j] = found[j, i] = True
    return found


def test_near_tracks_are_linked_and_numbered_by_their_first():
    distances = table({(0, 3): 0.1, (1, 2): 0.2}, 5)
    np.testing.assert_array_equal(link(distances, never([], 5), 0.3), [0, 1, 1, 0, 2])
    np.testing.assert_array_equal(link(distances, never([], 5), 0.15), [0, 1, 2, 0, 3])
    np.testing.assert_array_equal(link(distances, never([], 5), 0.05), [0, 1, 2, 3, 4])


def test_tracks_seen_at_the_same_time_are_never_linked_however_near():
    distances = table({(0, 1): 0.0, (1, 2): 0.1}, 3)
    np.testing.assert_array_equal(link(distances, never([(0, 1)], 3), 0.3), [0, 1, 1])


def test_a_chain_is_not_a_person():
    # 0 and 2 are both near 1, but far from each other: only the nearer pair is one person.
    distances = table({(0, 1): 0.1, (1, 2): 0.2}, 3)
    np.testing.assert_array_equal(link(distances, never([], 3), 0.3), [0, 0, 1])


def test_who_was_seen_with_a_member_does_not_join_the_person():
    # 3 is nearest to 0, and was seen together with 1, which is already one with 0.
    distances = table({(0, 1): 0.1, (0, 3): 0.15, (1, 3): 0.15}, 4)
    np.testing.assert_array_equal(link(distances, never([(1, 3)], 4), 0.3), [0, 0, 1, 2])


@pytest.mark.parametrize("count", [0, 1])
def test_one_track_is_one_person(count):
    assert link(np.zeros((count, count)), never([], count), 0.5).tolist() == [0] * count


def together_line(count):
    """Every track was seen with its neighbours."""
    return never([(i, i + 1) for i in range(count - 1)], count)


def test_the_threshold_is_below_nearly_all_pairs_known_to_be_two_people():
    together = together_line(12)  # 11 certain pairs
    certain = {(i, i + 1): 0.5 + 0.01 * i for i in range(11)}
    relations = relate(table({**certain, (0, 5): 0.49, (2, 8): 0.51}, 12), np.full(12, 0.7), together, false_links=0.0)
    assert relations.threshold == pytest.approx(0.5)
    assert relations.identities[0] == relations.identities[5]
    assert relations.identities[2] != relations.identities[8]
    assert relations.people == 11


def test_the_threshold_is_never_above_the_usual_distance_within_a_track():
    together = together_line(12)
    relations = relate(table({(0, 5): 0.2}, 12), np.full(12, 0.1), together, false_links=0.02)
    assert relations.threshold == pytest.approx(0.1)
    assert relations.people == 12


def test_different_are_the_certain_pairs_and_those_farther_apart_than_them():
    together = together_line(12)
    certain = {(i, i + 1): 0.5 for i in range(11)}
    distances = table({**certain, (0, 5): 0.1, (0, 7): 0.4, (0, 9): 0.6}, 12, far=0.45)
    different = relate(distances, np.full(12, 0.2), together, false_links=0.0).different
    assert different[0, 1]
    assert different[1, 0]
    assert different[0, 9]  # farther apart than half of the certain pairs
    assert not different[0, 7]
    assert not different[0, 5]
    assert not different.diagonal().any()
    np.testing.assert_array_equal(different, different.T)


def test_without_known_pairs_the_halves_of_tracks_decide():
    distances = table({(0, 1): 0.15, (2, 3): 0.25}, 5, far=0.5)
    relations = relate(distances, np.array([0.1, 0.2, 0.2, 0.2, 0.3]), never([], 5), false_links=0.02)
    assert relations.threshold == pytest.approx(0.2)
    np.testing.assert_array_equal(relations.identities, [0, 0, 1, 2, 3])
    assert relations.different[0, 2]
    assert not relations.different[2, 3]
