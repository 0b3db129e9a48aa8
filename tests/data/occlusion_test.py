"""Erased rectangles and pasted people."""

import numpy as np

from vreid_jax.config.phases import Augmentation
from vreid_jax.data.occlusion import erase, occlude


def white(frames=3, height=64, width=32):
    return np.full((frames, height, width, 3), 255, np.uint8)


def box(changed):
    """Rows and columns of the smallest box around what has changed."""
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def test_a_rectangle_of_the_right_size_and_shape_is_erased_alike_in_all_frames():
    how = Augmentation(erase=1.0, erase_least=0.05, erase_most=0.2)
    shares, tops = [], []
    for seed in range(100):
        erased = erase(white(), how, np.random.default_rng(seed))
        np.testing.assert_array_equal(erased, erased[:1].repeat(3, 0))
        top, bottom, left, right = box((erased[0] != 255).any(-1))
        tall, wide = bottom - top, right - left
        assert 0.25 < tall / wide < 4
        shares.append(tall * wide / (64 * 32))
        tops.append(top)
    assert 0.04 < min(shares) < 0.07
    assert 0.18 < max(shares) < 0.21
    assert min(tops) < 8
    assert max(tops) > 40


def test_erasing_happens_as_often_as_it_should():
    how = Augmentation(erase=0.3)
    happened = [(erase(white(1), how, np.random.default_rng(seed)) != 255).any() for seed in range(300)]
    assert 0.22 < np.mean(happened) < 0.38


def test_somebody_is_pasted_from_a_side_over_no_more_than_the_share_of_the_width():
    how = Augmentation(paste=1.0, paste_cover=0.5)
    sides, covered = set(), []
    for seed in range(60):
        pasted = occlude(white(), how, np.random.default_rng(seed), lambda n, rng: np.zeros((n, 40, 20, 3), np.uint8))
        changed = (pasted[0] != 255).any(-1)
        if not changed.any():  # less than half a pixel
            continue
        top, bottom, left, right = box(changed)
        assert changed[top:bottom, left:right].all()
        assert left == 0 or right == 32
        sides.add("left" if left == 0 else "right")
        covered.append(right - left)
    assert sides == {"left", "right"}
    assert 14 <= max(covered) <= 16


def test_the_transparent_part_of_somebody_hides_nothing():
    def figure(num_frames, rng):
        person = np.zeros((num_frames, 40, 20, 4), np.uint8)
        person[..., 3] = 128
        return person

    pasted = occlude(white(), Augmentation(paste=1.0), np.random.default_rng(1), figure)
    assert set(np.unique(pasted)) == {127, 255}


def test_without_somebody_nothing_is_drawn():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    np.testing.assert_array_equal(occlude(white(), Augmentation(paste=1.0), rng, None), white())
    assert rng.bit_generator.state == before
