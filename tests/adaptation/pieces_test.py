"""Tracks cut in time, the company of a track in a batch, and the masks of a batch's pairs."""

import numpy as np
import pytest

from vreid_jax.adaptation.pieces import Pieces, TogetherSampler, pair_masks


class Numbered:
    """Tracklets whose pixels say which frame of which tracklet they are."""

    def __init__(self, lengths):
        self.num_frames = np.array(lengths)
        self.pids, self.camids = np.arange(len(lengths)) + 7, np.zeros(len(lengths), np.int64)
        self.tracklet_ids = np.array([f"t{row}" for row in range(len(lengths))])

    def __len__(self):
        return len(self.num_frames)

    def read(self, row, frame_numbers):
        assert (frame_numbers < self.num_frames[row]).all()
        frames = np.zeros((*frame_numbers.shape, 2, 1, 3), np.uint8)
        frames[...] = (10 * row + frame_numbers)[..., None, None, None]
        return frames


def test_pieces_follow_each_other_and_cover_a_track():
    pieces = Pieces(Numbered([8, 5]), 2)
    assert len(pieces) == 4
    assert pieces.num_frames.tolist() == [4, 4, 2, 3]
    assert pieces.pids.tolist() == [0, 0, 1, 1]
    assert pieces.camids.tolist() == [0, 1, 0, 1]
    assert pieces.tracklet_ids.tolist() == ["t0#0", "t0#1", "t1#0", "t1#1"]
    read = [pieces.read(row, np.arange(n))[:, 0, 0, 0].tolist() for row, n in enumerate(pieces.num_frames)]
    assert read == [[0, 1, 2, 3], [4, 5, 6, 7], [10, 11], [12, 13, 14]]


def never(pairs, count):
    found = np.zeros((count, count), bool)
    for i, j in pairs:
        found[i, j] = found[j, i] = True
    return found


def sampler(count=20, tracks=8, seed=0, same=(), together=()):
    identities = np.arange(count)
    for i, j in same:
        identities[j] = identities[i]
    return TogetherSampler(identities, never(together, count), pieces=4, tracks=tracks, seed=seed)


def test_a_batch_has_two_different_pieces_of_different_tracks():
    drawn = sampler()
    assert drawn.batch_size == 16
    for index in range(30):
        tracks, pieces = np.divmod(drawn.batch(index).reshape(-1, 2), 4)
        assert (tracks[:, 0] == tracks[:, 1]).all()
        assert len(set(tracks[:, 0].tolist())) == 8
        assert (pieces[:, 0] != pieces[:, 1]).all()


def test_seeds_bring_those_that_they_are_compared_with():
    same, together = [(n, n + 10) for n in range(10)], [(n, n + 1) for n in range(19)]
    drawn = sampler(same=same, together=together)
    for index in range(20):
        tracks = (drawn.batch(index).reshape(-1, 2)[:, 0] // 4).tolist()
        for seed in tracks[:2]:  # a quarter of 8
            assert (seed + 10) % 20 in tracks
            assert {seed - 1, seed + 1} & set(tracks)


def test_an_epoch_begins_once_with_every_track_also_where_the_last_batch_has_fewer_seeds():
    drawn = sampler(count=9)
    assert drawn.batches_per_epoch == 5
    seeds = [track for index in range(5) for track in (drawn.batch(index)[::2] // 4)[:2].tolist()]
    assert set(seeds[:9]) == set(range(9))


def test_fewer_tracks_than_a_batch_holds_are_all_in_it():
    drawn = sampler(count=5)
    assert drawn.batch_size == 10
    assert set((drawn.batch(3) // 4).tolist()) == set(range(5))


def test_a_batch_is_a_function_of_seed_and_index():
    np.testing.assert_array_equal(sampler().batch(7), sampler().batch(7))
    assert any((sampler().batch(n) != sampler(seed=1).batch(n)).any() for n in range(3))


def test_masks_worked_out_by_hand():
    # Clips of tracks 0, 0, 1, 2, 3; tracks 0 and 2 are one person; 0 and 1 were seen together; of 3 nothing is known.
    identities, different = np.array([0, 1, 0, 2]), never([(0, 1), (0, 2)], 4)
    positive, negative = pair_masks(np.array([0, 0, 1, 2, 3]), identities, different)
    np.testing.assert_array_equal(
        positive.astype(int), [[0, 1, 0, 1, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(
        negative.astype(int), [[0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    )


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_two_pieces_are_any_two(count):
    drawn = TogetherSampler(np.arange(4), never([], 4), pieces=count, tracks=4, seed=0)
    pairs = {tuple(pair) for index in range(60) for pair in (drawn.batch(index).reshape(-1, 2) % count).tolist()}
    assert pairs == {(i, j) for i in range(count) for j in range(count) if i != j}
