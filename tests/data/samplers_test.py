import numpy as np
import pytest

from vreid_jax.data.samplers import IdentitySampler, ShuffleSampler
from vreid_jax.errors import InputError

PIDS = np.repeat([3, 5, 8, 13, 21, 34, 55], [1, 2, 3, 4, 5, 6, 7])
ONCE = np.ones(28, int)
CAMIDS = np.concatenate([np.arange(n) % 3 for n in (1, 2, 3, 4, 5, 6, 7)])


def identities(num_identities=3, clips=4, seed=0):
    return IdentitySampler(PIDS, CAMIDS, num_identities, clips, seed)


def test_a_batch_is_p_identities_of_k_adjacent_tracklets():
    sampler = identities()
    assert (sampler.batch_size, sampler.batches_per_epoch) == (12, 2)
    for index in range(20):
        pids = PIDS[sampler.batch(index)].reshape(3, 4)
        assert (pids == pids[:, :1]).all()
        assert len(np.unique(pids)) == 3


def test_an_identity_with_enough_tracklets_repeats_none():
    for index in range(20):
        for rows in identities().batch(index).reshape(3, 4):
            if np.sum(PIDS[rows[0]] == PIDS) >= 4:
                assert len(set(rows)) == 4


def test_few_tracklets_are_repeated_nearly_equally_often():
    seen = set()
    for index in range(20):
        for rows in identities().batch(index).reshape(3, 4):
            own = int(np.sum(PIDS[rows[0]] == PIDS))
            if own < 4:
                seen.add(own)
                counts = np.unique(rows, return_counts=True)[1]
                assert len(counts) == own
                assert counts.max() - counts.min() <= 1
    assert seen == {1, 2, 3}


def test_tracklets_come_from_different_cameras_first():
    sampler = identities(clips=3)
    for index in range(20):
        for rows in sampler.batch(index).reshape(3, 3):
            if np.sum(PIDS[rows[0]] == PIDS) >= 3:
                assert set(CAMIDS[rows]) == {0, 1, 2}


def test_an_epoch_is_one_pass_over_the_identities():
    sampler = identities(num_identities=7, clips=1)
    for epoch in range(3):
        np.testing.assert_array_equal(np.sort(PIDS[sampler.batch(epoch)]), np.unique(PIDS))
    # With P = 3 the rest of an epoch's order, one of seven, is left out: six different identities.
    for epoch in range(3):
        pids = np.concatenate([PIDS[identities().batch(2 * epoch + i)] for i in range(2)])
        assert len(np.unique(pids)) == 6


def test_epochs_have_different_orders_and_leave_out_different_identities():
    sampler = identities()
    orders = [tuple(PIDS[np.concatenate([sampler.batch(2 * e), sampler.batch(2 * e + 1)])]) for e in range(8)]
    assert len(set(orders)) == 8
    assert set().union(*(set(order) for order in orders)) == set(PIDS)


@pytest.mark.parametrize("make", [identities, lambda seed=0: ShuffleSampler(ONCE, 6, seed)])
def test_a_batch_is_a_pure_function_of_seed_and_index(make):
    forwards = [make().batch(i) for i in range(12)]
    sampler = make()
    backwards = [sampler.batch(i) for i in reversed(range(12))][::-1]
    np.testing.assert_array_equal(forwards, backwards)
    assert not np.array_equal(forwards, [make(seed=1).batch(i) for i in range(12)])


def test_too_few_identities_is_an_error_with_both_numbers():
    with pytest.raises(InputError, match=r"has 7 identities, fewer than the 8 of a P x K batch; lower identities"):
        identities(num_identities=8)


def test_shuffling_shows_every_tracklet_at_most_once_an_epoch():
    sampler = ShuffleSampler(ONCE, 6, seed=2)
    assert sampler.batches_per_epoch == 4  # 28 tracklets, the last 4 are left out
    epochs = [np.concatenate([sampler.batch(4 * e + i) for i in range(4)]) for e in range(6)]
    for rows in epochs:
        assert len(set(rows)) == 24
    assert set(np.concatenate(epochs)) == set(range(28))
    assert not np.array_equal(epochs[0], epochs[1])


def test_tracklets_appear_as_often_as_the_sampler_is_told():
    sampler = ShuffleSampler(np.array([1, 3, 2]), 3, seed=0)
    assert sampler.batches_per_epoch == 2
    for epoch in range(4):
        rows = np.concatenate([sampler.batch(2 * epoch), sampler.batch(2 * epoch + 1)])
        np.testing.assert_array_equal(np.bincount(rows), [1, 3, 2])


def test_fewer_tracklets_than_a_batch_is_an_error_with_both_numbers():
    with pytest.raises(InputError, match=r"has 28 samples, fewer than batch_size = 29; lower batch_size"):
        ShuffleSampler(ONCE, 29, seed=0)
