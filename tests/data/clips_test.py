import numpy as np
import pytest

from vreid_jax.data import sample_clip, split_clips
from vreid_jax.errors import InputError


def draws(kind, num_frames, length, stride=1, count=300):
    return np.stack([sample_clip(kind, num_frames, length, stride, np.random.default_rng(s)) for s in range(count)])


def test_consecutive_clips_are_adjacent_frames_from_every_possible_start():
    clips = draws("consecutive", 6, 4)
    np.testing.assert_array_equal(np.diff(clips), 1)
    assert set(clips[:, 0]) == {0, 1, 2}  # 6 - 4 + 1 starts, the last one reaching frame 5


def test_strided_clips_take_every_stride_th_frame_of_a_window():
    clips = draws("strided", 8, 3, stride=2)
    np.testing.assert_array_equal(np.diff(clips), 2)
    assert set(clips[:, 0]) == {0, 1, 2}  # the window of 3 * 2 frames has 8 - 6 + 1 places


def test_stride_is_of_strided_clips_only():
    np.testing.assert_array_equal(np.diff(draws("consecutive", 9, 3, stride=3)), 1)


def test_random_clips_are_distinct_frames_in_temporal_order_and_reach_every_frame():
    clips = draws("random", 5, 3)
    assert (np.diff(clips) > 0).all()
    np.testing.assert_array_equal(np.unique(clips), np.arange(5))
    assert len({tuple(clip) for clip in clips}) == 10  # 5 over 3


def test_evenly_clips_have_one_frame_of_each_equal_part():
    clips = draws("evenly", 9, 3)
    for part, frames in enumerate(clips.T):
        assert set(frames) == {3 * part, 3 * part + 1, 3 * part + 2}


def test_evenly_with_parts_of_unequal_size():
    clips = draws("evenly", 5, 2)  # edges 0, 2.5, 5: frames 0-1 and 2-4
    assert set(clips[:, 0]) == {0, 1}
    assert set(clips[:, 1]) == {2, 3, 4}


@pytest.mark.parametrize("kind", ["consecutive", "random", "evenly"])
def test_short_tracklets_wrap_around(kind):
    np.testing.assert_array_equal(sample_clip(kind, 3, 8, 1, np.random.default_rng(0)), [0, 1, 2, 0, 1, 2, 0, 1])


def test_a_short_tracklet_is_strided_less_from_every_start_and_wraps_around():
    # 20 frames for 8, one every 8 of 64: 20 // 8 = 2, so a clip spans 16 frames and the last five starts wrap.
    clips = draws("strided", 20, 8, stride=8)
    found = {int(clip[0]): clip.tolist() for clip in clips}
    assert found[0] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert found[5] == [5, 7, 9, 11, 13, 15, 17, 19]
    assert found[9] == [9, 11, 13, 15, 17, 19, 1, 3]
    assert found[19] == [19, 1, 3, 5, 7, 9, 11, 13]
    assert set(found) == set(range(20))
    assert {tuple(clip) for clip in clips.tolist()} == {tuple(clip) for clip in found.values()}  # one for each start


def test_a_tracklet_with_fewer_frames_than_a_clip_repeats_them_from_every_start():
    clips = {tuple(clip) for clip in draws("strided", 3, 8, stride=8).tolist()}
    assert clips == {(0, 1, 2, 0, 1, 2, 0, 1), (1, 2, 0, 1, 2, 0, 1, 2), (2, 0, 1, 2, 0, 1, 2, 0)}


def test_a_tracklet_as_long_as_the_window_is_not_short():
    np.testing.assert_array_equal(draws("strided", 16, 8, stride=2), np.tile(2 * np.arange(8), (300, 1)))
    assert set(np.diff(draws("strided", 15, 8, stride=2)).ravel()) == {1, -14}


def test_short_clips_that_wrap_keep_their_stride_and_start_at_the_first_frame():
    found = sample_clip("strided", 5, 4, 2, np.random.default_rng(0), short="wrap")
    np.testing.assert_array_equal(found, [0, 2, 4, 1])
    several = sample_clip("strided", 5, 4, 2, np.random.default_rng(0), 2, short="wrap")
    np.testing.assert_array_equal(several, [0, 2, 4, 1] * 2)
    with pytest.raises(InputError, match=r"clip.short is 'loop'; it is one of stride, wrap"):
        sample_clip("strided", 5, 4, 2, np.random.default_rng(0), short="loop")


@pytest.mark.parametrize("kind", ["consecutive", "strided", "random", "evenly"])
def test_a_clip_as_long_as_its_tracklet_is_the_tracklet(kind):
    np.testing.assert_array_equal(sample_clip(kind, 4, 4, 1, np.random.default_rng(5)), np.arange(4))


@pytest.mark.parametrize(("num_frames", "length"), [(8, 4), (11, 4), (4, 4), (31, 8)])
def test_all_covers_the_floor_of_length_over_t(num_frames, length):
    clips = split_clips("all", num_frames, length)
    count = num_frames // length
    np.testing.assert_array_equal(clips, np.arange(count * length).reshape(count, length))


def test_all_of_a_short_tracklet_is_one_clip_that_repeats_frames():
    np.testing.assert_array_equal(split_clips("all", 3, 4), [[0, 1, 2, 0]])


def test_all_with_a_stride_uses_every_frame_of_a_window_once():
    np.testing.assert_array_equal(split_clips("all", 9, 2, stride=2), [[0, 2], [1, 3], [4, 6], [5, 7]])


def test_all_with_a_stride_wraps_around_when_short():
    np.testing.assert_array_equal(split_clips("all", 3, 2, stride=2), [[0, 2], [1, 0]])


def test_evenly_spreads_the_starts_from_the_first_to_the_last_place():
    np.testing.assert_array_equal(split_clips("evenly", 10, 2, num_clips=3), [[0, 1], [4, 5], [8, 9]])
    np.testing.assert_array_equal(split_clips("evenly", 5, 2, num_clips=4), [[0, 1], [1, 2], [2, 3], [3, 4]])
    np.testing.assert_array_equal(split_clips("evenly", 8, 2, num_clips=2, stride=3), [[0, 3], [2, 5]])


def test_evenly_of_a_short_tracklet_repeats_the_only_clip():
    np.testing.assert_array_equal(split_clips("evenly", 2, 3, num_clips=2), [[0, 1, 0], [0, 1, 0]])


def test_a_kind_that_does_not_exist_is_named():
    with pytest.raises(InputError, match=r"clip.kind is 'all'; training clips are one of consecutive, strided"):
        sample_clip("all", 5, 2, 1, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"clip.kind is 'random'; test clips are one of all, sliding, evenly"):
        split_clips("random", 5, 2)


def test_sizes_below_one_are_named():
    with pytest.raises(InputError, match=r"clip\.stride is 0"):
        sample_clip("strided", 5, 2, 0, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"clip\.num_clips is 0"):
        split_clips("evenly", 5, 2, num_clips=0)


def test_sliding_clips_overlap_and_cover_what_whole_ones_can():
    clips = split_clips("sliding", 40, 16, stride=8)
    np.testing.assert_array_equal(clips, np.arange(4)[:, None] * 8 + np.arange(16))
    assert len(split_clips("sliding", 39, 16, stride=8)) == 3
    np.testing.assert_array_equal(split_clips("sliding", 5, 8, stride=4), [[0, 1, 2, 3, 4, 0, 1, 2]])
