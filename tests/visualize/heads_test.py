"""What is left of a blurred head."""

import numpy as np

from vreid_jax.visualize.heads import blur_heads


def test_pixels_may_change_places_within_a_sixth_of_the_head_and_the_picture_stays_the_same():
    # 22 of 100 rows are the head: two cells of 11 rows, three of 16 columns. Only their means remain.
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (100, 48, 3), dtype=np.uint8)
    shuffled = picture.copy()
    for top in (0, 11):
        for left in (0, 16, 32):
            cell = picture[top : top + 11, left : left + 16].reshape(-1, 3)
            shuffled[top : top + 11, left : left + 16] = rng.permutation(cell).reshape(11, 16, 3)
    assert (picture[:22] != shuffled[:22]).mean() > 0.9
    np.testing.assert_array_equal(blur_heads(picture[None]), blur_heads(shuffled[None]))


def test_below_the_head_nothing_changes_and_the_argument_is_left_alone():
    frames = np.random.default_rng(1).integers(0, 256, (3, 64, 32, 3), dtype=np.uint8)
    before = frames.copy()
    blurred = blur_heads(frames)
    np.testing.assert_array_equal(frames, before)
    np.testing.assert_array_equal(blurred[:, 17:], frames[:, 17:])  # 22 % and 5 % of 64 rows
    contrast = [float(some[:, :12].std(axis=(1, 2)).mean()) for some in (frames, blurred)]
    assert contrast[1] < contrast[0] / 4


def test_the_smallest_picture_keeps_its_shape():
    assert blur_heads(np.zeros((2, 1, 1, 3), np.uint8)).shape == (2, 1, 1, 3)
