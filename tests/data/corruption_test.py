import numpy as np
import pytest

from vreid_jax.data import corrupt, draw_corrupted, sample_clip, split_clips, tracklet_generator
from vreid_jax.data.loader import cache_rows
from vreid_jax.errors import InputError


def test_one_colour_survives_and_detail_does_not():
    flat = np.full((2, 40, 20, 3), (200, 60, 30), np.uint8)
    np.testing.assert_allclose(corrupt(flat).astype(int), flat, atol=6)
    stripes = np.zeros((1, 40, 20, 3), np.uint8)
    stripes[:, ::2] = 255
    blurred = corrupt(stripes)
    assert blurred.shape == stripes.shape
    assert blurred.dtype == np.uint8
    assert blurred[:, 5:35].std() < 20  # mean over 5 rows: between two and three fifths of 255
    # Red above green: what is as large as a fifth of the picture stays where it is, channels in their order.
    halves = np.zeros((1, 40, 20, 3), np.uint8)
    halves[:, :20, :, 0], halves[:, 20:, :, 1] = 255, 255
    found = corrupt(halves)[0].astype(int)
    assert found[5, 10, 0] > 180 > 80 > found[5, 10, 1]
    assert found[35, 10, 1] > 180 > 80 > found[35, 10, 0]
    assert corrupt(np.zeros((1, 2, 3, 3), np.uint8)).shape == (1, 2, 3, 3)


def test_the_number_of_corrupted_clips_is_uniform_and_every_clip_as_likely():
    rng = np.random.default_rng(0)
    draws = np.array([draw_corrupted(8, 3, rng) for _ in range(4000)])
    counts = np.bincount(draws.sum(1), minlength=4)
    np.testing.assert_allclose(counts, [1000] * 4, atol=110)
    np.testing.assert_allclose(draws.mean(0), 1.5 / 8, atol=0.025)
    assert not draw_corrupted(8, 0, rng).any()
    for most in (-1, 9):
        with pytest.raises(InputError, match=f"corrupt is {most}"):
            draw_corrupted(8, most, rng)


def test_a_tracklet_draws_the_same_wherever_it_stands():
    a, b = (draw_corrupted(8, 7, tracklet_generator(3, "0001C1T0001")) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    others = [draw_corrupted(8, 7, tracklet_generator(seed, name)) for seed, name in ((4, "0001C1T0001"), (3, "b"))]
    assert any((a != other).any() for other in others)


def test_rows_of_the_cache_by_hand():
    bad = np.array([False, True, False])
    np.testing.assert_array_equal(cache_rows(2, bad, True), [12, 16, 14])
    np.testing.assert_array_equal(cache_rows(2, np.zeros(3, bool), False), [6, 7, 8])


def test_clips_of_a_set_are_spread_and_a_tracklet_of_two_frames_fills_them():
    rng = np.random.default_rng(0)
    numbers = sample_clip("spread", 20, 4, 1, rng, 3)
    np.testing.assert_array_equal(numbers.reshape(3, 4), split_clips("evenly", 20, 4, 3))
    np.testing.assert_array_equal(sample_clip("spread", 2, 4, 1, rng, 2), [0, 1, 0, 1] * 2)
    drawn = sample_clip("consecutive", 50, 4, 1, rng, 3).reshape(3, 4)
    np.testing.assert_array_equal(np.diff(drawn), 1)
    assert len(set(drawn[:, 0])) > 1


@pytest.mark.parametrize("num_frames", [1, 2, 5, 12, 100])
def test_the_four_ways_of_one_clip(num_frames):
    rng = np.random.default_rng(0)
    consecutive, random, evenly, everything = (
        split_clips(f"single_{kind}", num_frames, 4, rng=rng)[0] for kind in ("consecutive", "random", "evenly", "all")
    )
    np.testing.assert_array_equal(np.diff(consecutive) % num_frames, 1 % num_frames)
    assert len(random) == len(evenly) == 4
    if num_frames >= 4:
        assert len(set(random.tolist())) == 4
        assert (np.diff(random) > 0).all()
    assert (evenly[0], evenly[-1]) == (0, num_frames - 1)
    assert set(everything.tolist()) == set(range(num_frames))
    assert len(everything) == {1: 4, 2: 4, 5: 6, 12: 12, 100: 128}[num_frames]
