"""Optical flow: known displacements, bytes, and the same result whatever the number of threads."""

import cv2
import numpy as np
import pytest

from vreid_jax.data.optical_flow import STILL, flow_fields, to_bytes, to_pixels


def moving(displacements, height=64, width=48, seed=0):
    """Frames of a smooth random texture that moves by whole pixels (x, y) from each frame to the next."""
    margin = 40
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.normal(size=(height + 2 * margin, width + 2 * margin, 3)), (0, 0), 2.5)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    at = np.cumsum([(0, 0), *displacements], 0)
    return np.stack([texture[margin - y :, margin - x :][:height, :width] for x, y in at])


@pytest.mark.parametrize("method", ["dis", "farneback"])
def test_a_translation_is_found_in_pixels_with_its_sign(method):
    fields = flow_fields(moving([(2, -1), (-3, 2)]), method)
    assert fields.shape == (2, 64, 48, 2)
    assert fields.dtype == np.uint8
    inner = to_pixels(fields)[:, 12:-12, 12:-12]
    np.testing.assert_allclose(np.median(inner, (1, 2)), [(2, -1), (-3, 2)], atol=0.2)
    assert np.abs(inner - np.array([(2, -1), (-3, 2)])[:, None, None]).mean() < 0.3


def test_bytes_are_clipped_symmetric_and_exact_at_zero():
    pixels = np.array([0.0, 20.0, -20.0, 35.0, -1e9, 20 / 127, -10.0], np.float32)
    np.testing.assert_array_equal(to_bytes(pixels), [128, 255, 1, 255, 1, 129, 64])
    np.testing.assert_array_equal(to_bytes(-pixels), np.negative(to_bytes(pixels)))  # modulo 256
    np.testing.assert_allclose(to_pixels(np.array([128, 255, 1], np.uint8)), [0, 20, -20], rtol=1e-6)


def test_a_single_frame_does_not_move():
    single = flow_fields(moving([])[:1])
    assert single.shape == (1, 64, 48, 2)
    assert (single == STILL).all()


@pytest.mark.parametrize(
    ("size", "moves"),
    [
        ((8, 6), False), ((8, 11), False), ((11, 8), False), ((12, 8), True), ((8, 12), True), ((7, 12), False),
        ((40, 7), False), ((7, 40), False), ((100, 3), False), ((640, 8), True),
        # OpenCV would end the process, or read what lies behind the picture.
        ((8, 39), True), ((8, 40), False), ((15, 40), False), ((16, 40), True), ((15, 640), False), ((16, 640), True),
    ],
)  # fmt: skip
def test_frames_too_small_for_dis_do_not_move(size, moves):
    frames = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    fields = flow_fields(frames)
    assert fields.shape == (2, *size, 2)
    assert (fields != STILL).any() == moves
    assert (flow_fields(frames, "farneback") != STILL).any()


def test_a_black_clip_does_not_move():
    assert (flow_fields(np.zeros((3, 64, 32, 3), np.uint8)) == STILL).all()


def test_threads_change_neither_the_flow_nor_their_own_number():
    frames, before = moving([(1, 1)], 256, 128), cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        alone = flow_fields(frames)
        cv2.setNumThreads(4)
        np.testing.assert_array_equal(flow_fields(frames), alone)
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)
