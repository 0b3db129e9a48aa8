import re

import cv2
import numpy as np
import pytest

from vreid_jax.data import augment, resize
from vreid_jax.errors import InputError


def clip(frames=3, height=6, width=4):
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def ramp(frames=5, size=18):
    """Frames whose pixel value says where it lies: red is the row, green the column, in steps of 10."""
    rows, columns = np.mgrid[:size, :size] * 10
    return np.repeat(np.stack([rows, columns, 0 * rows], -1)[None].astype(np.uint8), frames, 0)


def test_without_augmentation_frames_of_the_right_size_stay_as_they_are():
    frames = clip()
    np.testing.assert_array_equal(augment(frames, 6, 4, np.random.default_rng(0)), frames)


def test_flip_with_probability_one_mirrors_the_width_of_every_frame():
    frames = clip()
    for seed in range(5):
        np.testing.assert_array_equal(augment(frames, 6, 4, np.random.default_rng(seed), flip=1.0), frames[:, :, ::-1])


def test_all_frames_of_a_clip_move_together():
    for seed in range(20):
        frames = augment(ramp(), 16, 16, np.random.default_rng(seed), flip=0.5, enlarge_crop=0.5)
        np.testing.assert_array_equal(frames, np.repeat(frames[:1], 5, 0))


def test_a_crop_is_a_window_of_the_picture_enlarged_by_nine_eighths():
    # 18 = 9/8 * 16: nothing is interpolated, so the crop shows its own place.
    places = set()
    for seed in range(100):
        frame = augment(ramp(frames=1), 16, 16, np.random.default_rng(seed), enlarge_crop=1.0)[0]
        top, left = frame[0, 0, :2] // 10
        np.testing.assert_array_equal(frame, ramp(1)[0, top : top + 16, left : left + 16])
        places.add((int(top), int(left)))
    assert places == {(top, left) for top in range(3) for left in range(3)}


def test_probabilities_are_shares_of_clips():
    frames = ramp(frames=1, size=16)
    mirrored = [augment(frames, 16, 16, np.random.default_rng(s), flip=0.25)[0, 0, 0, 1] > 0 for s in range(400)]
    assert 0.18 < np.mean(mirrored) < 0.32


def test_the_same_generator_gives_the_same_clip():
    first, second = (augment(clip(), 12, 8, np.random.default_rng(7), flip=0.5, enlarge_crop=1.0) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_shrinking_averages_areas():
    frames = clip(height=6, width=4)
    means = frames.astype(float).reshape(3, 3, 2, 2, 2, 3).mean((2, 4))
    np.testing.assert_allclose(resize(frames, 3, 2), means, atol=0.51)


@pytest.mark.parametrize(("height", "width"), [(12, 8), (12, 2)])
def test_enlarging_interpolates_linearly(height, width):
    frames = clip()
    expected = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in frames]
    np.testing.assert_array_equal(resize(frames, height, width), expected)


ALL = {
    "flip": 0.5,
    "enlarge_crop": 0.5,
    **dict.fromkeys(
        ("pad_crop", "color_jitter", "gamma", "white_balance", "low_resolution", "blur", "jpeg", "erase", "paste"), 1.0
    ),
}


def somebody(num_frames, rng):
    return rng.integers(0, 256, (1, 20, 10, 3), np.uint8).repeat(num_frames, 0)


def test_what_is_off_draws_nothing():
    rng, expected = np.random.default_rng(3), np.random.default_rng(3)
    augment(clip(), 12, 8, rng)
    expected.random(2)  # of enlarge_crop and flip
    assert rng.bit_generator.state == expected.bit_generator.state


def test_everything_at_once_is_the_same_for_all_frames_and_follows_the_generator():
    frames = ramp(frames=4, size=36)
    for seed in range(5):
        first, second = (augment(frames, 32, 16, np.random.default_rng(seed), other=somebody, **ALL) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, first[:1].repeat(4, 0))
        assert first.shape == (4, 32, 16, 3)
        assert first.dtype == np.uint8
    assert not np.array_equal(first, augment(frames, 32, 16, np.random.default_rng(99), other=somebody, **ALL))


def test_the_frames_that_are_given_stay_as_they_are():
    frames = clip(height=32, width=16)
    before = frames.copy()
    for seed in range(5):
        augment(frames, 32, 16, np.random.default_rng(seed), other=somebody, noise=1.0, **ALL)
    np.testing.assert_array_equal(frames, before)


def test_pad_and_crop_moves_the_picture_over_black():
    frames, places = ramp(frames=1, size=20) + 1, set()
    for seed in range(200):
        moved = augment(frames, 20, 20, np.random.default_rng(seed), pad_crop=1.0, padding=0.05)[0]
        bordered = np.pad(frames[0], ((1, 1), (1, 1), (0, 0)))
        found = [
            (top, left)
            for top in range(3)
            for left in range(3)
            if np.array_equal(moved, bordered[top : top + 20, left : left + 20])
        ]
        assert len(found) == 1
        places.update(found)
    assert len(places) == 9


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"jpeg": 1.5}, "jpeg is 1.5; it is a probability"),
        ({"jpeg_quality": 0}, "jpeg_quality is 0; it is a number from 1 to 95"),
        ({"low_resolution_scale": 0.0}, "low_resolution_scale is 0.0; it must be above 0 and at most 1"),
        ({"erase_least": 0.5}, "erase_least is 0.5; it must not be above erase_most = 0.4"),
    ],
)
def test_fields_out_of_range_are_named(fields, words):
    with pytest.raises(InputError, match=re.escape(words)):
        augment(clip(), 6, 4, np.random.default_rng(0), **fields)
