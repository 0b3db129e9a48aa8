import cv2
import numpy as np
import pytest

from vreid_jax.data import augment, resize


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
