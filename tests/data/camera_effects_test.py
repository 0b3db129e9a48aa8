"""Colours against float64 NumPy, a pixel formula at a time; blur, noise, resolution and compression by what they do."""

import colorsys

import numpy as np
import pytest

from vreid_jax.config.phases import Augmentation
from vreid_jax.data.camera_effects import add_noise, color_matrix, compress, degrade, lower_resolution, recolour


def clip(low=0, high=256, frames=2):
    return np.random.default_rng(0).integers(low, high, (frames, 24, 16, 3), dtype=np.uint8)


class Draws(np.random.Generator):
    """A generator whose uniform numbers are those that it is told."""

    def __init__(self, *values):
        super().__init__(np.random.PCG64(0))
        self.values = list(values)

    def random(self):
        return 0.0

    def uniform(self, low, high, size=None):
        return np.array([self.values.pop(0) for _ in range(size)]) if size else self.values.pop(0)


def test_brightness_contrast_and_saturation_equal_their_formulas():
    frames = clip(100, 150)
    how = Augmentation(color_jitter=1.0, brightness=0.2, contrast=0.4, saturation=0.5)
    found = recolour(frames, how, Draws(1.0, -0.5, -1.0, 0.0))  # factors 1.2, 0.8 and 0.5, no turn
    pixels = frames.astype(np.float64)
    grey = pixels @ [0.299, 0.587, 0.114]
    pixels = grey[..., None] + 0.5 * (pixels - grey[..., None])
    pixels *= 1.2
    mean = (pixels @ [0.299, 0.587, 0.114]).mean()
    np.testing.assert_allclose(found, mean + 0.8 * (pixels - mean), atol=1.1)  # rounded twice


def test_gamma_and_white_balance_equal_their_formulas():
    frames = clip(0, 200)
    how = Augmentation(gamma=1.0, gamma_strength=0.5, white_balance=1.0, white_balance_strength=0.2)
    found = recolour(frames, how, Draws(1.0, -0.5, 0.5))
    pixels = frames * np.exp([0.2, 0.0, -0.1])
    np.testing.assert_allclose(found, 255 * (np.clip(pixels, 0, 255) / 255) ** np.exp(0.5), atol=3.1)
    assert np.abs(found - 255 * (np.clip(np.round(pixels), 0, 255) / 255) ** np.exp(0.5)).max() < 0.51


def test_a_turn_of_the_hue_turns_it_and_keeps_luminance():
    red = np.array([0.6, 0.4, 0.4])
    turned = color_matrix(1.0, 1 / 3) @ red
    weights = [0.299, 0.587, 0.114]
    np.testing.assert_allclose(turned @ weights, red @ weights, atol=1e-3)
    hue = colorsys.rgb_to_hsv(*turned)[0]
    assert 0.2 < min(hue, 1 - hue) < 0.45  # a third of the circle, as far as the two definitions of hue agree
    np.testing.assert_allclose(color_matrix(1.0, 1.0), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(color_matrix(0.0, 0.3) @ red, np.full(3, red @ weights), atol=2e-3)


def test_grey_stays_grey_whatever_the_hue_and_saturation():
    grey = np.repeat(clip()[..., :1], 3, -1)
    how = Augmentation(color_jitter=1.0, brightness=0.0, contrast=0.0, saturation=1.0, hue=0.5)
    np.testing.assert_allclose(recolour(grey, how, np.random.default_rng(0)), grey, atol=1)


@pytest.mark.parametrize("deviation", [4.0, 12.0])
def test_noise_has_its_deviation_and_differs_between_frames_and_channels(deviation):
    frames = np.full((3, 64, 64, 3), 128, np.uint8)
    noise = add_noise(frames, deviation, np.random.default_rng(0)).astype(float) - 128
    assert abs(noise.mean()) < 0.1 * deviation
    np.testing.assert_allclose(noise.std((1, 2)), deviation, rtol=0.1)
    channels = noise.transpose(0, 3, 1, 2).reshape(9, -1)
    assert np.abs(np.corrcoef(channels) - np.eye(9)).max() < 0.1


def test_low_resolution_keeps_what_is_coarse_and_loses_what_is_fine():
    rows = np.arange(32)
    fine = np.broadcast_to((255 * (rows % 2)).astype(np.uint8)[None, :, None, None], (1, 32, 16, 3))
    coarse = np.broadcast_to((8 * rows).astype(np.uint8)[None, :, None, None], (1, 32, 16, 3))
    assert np.ptp(lower_resolution(np.ascontiguousarray(fine), 0.25)) <= 2
    np.testing.assert_allclose(lower_resolution(np.ascontiguousarray(coarse), 0.25)[:, 2:-2], coarse[:, 2:-2], atol=2)


def test_compression_keeps_colours_and_costs_more_at_a_lower_quality():
    plain = np.broadcast_to(np.array([200, 100, 30], np.uint8), (1, 32, 16, 3))
    np.testing.assert_allclose(compress(np.ascontiguousarray(plain), 60), plain, atol=4)
    frames = clip(frames=1)
    errors = [np.abs(compress(frames, quality) - frames.astype(float)).mean() for quality in (10, 50, 95)]
    assert errors[0] > errors[1] > errors[2] > 0


def test_blur_is_a_gaussian_of_a_share_of_the_height():
    line = np.zeros((2, 101, 101, 3), np.uint8)
    line[:, :, 50] = 255
    found = degrade(line, Augmentation(blur=1.0, blur_sigma=0.05), Draws(0.03))  # a deviation of 3.03 pixels
    expected = 255 / (3.03 * np.sqrt(2 * np.pi)) * np.exp(-0.5 * ((np.arange(101) - 50) / 3.03) ** 2)
    np.testing.assert_allclose(found, np.broadcast_to(expected[None, None, :, None], found.shape), atol=1.0)


def test_how_much_is_blurred_is_drawn_up_to_the_strength():
    line = np.zeros((1, 101, 101, 3), np.uint8)
    line[:, :, 50] = 255
    how = Augmentation(blur=1.0, blur_sigma=0.04)
    peaks = [degrade(line, how, np.random.default_rng(seed)).max() for seed in range(50)]
    assert min(peaks) >= 255 / (4.04 * np.sqrt(2 * np.pi)) - 1
    assert min(peaks) < 30
    assert max(peaks) > 200
