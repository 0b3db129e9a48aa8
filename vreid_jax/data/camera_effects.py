"""What cameras do to pictures: colour, white balance, gamma, blur, noise, few pixels, compression."""

# OpenCV and NumPy leave the type of some results unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import functools

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vreid_jax.config.phases import Augmentation
from vreid_jax.data.chance import happens

Clip = UInt8[np.ndarray, "T H W 3"]

# From RGB to luminance and two axes of colour, in which a change of hue is a rotation (NTSC).
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
NOISE_STARTS = 1 << 20


def recolour(clip: Clip, how: Augmentation, rng: np.random.Generator) -> Clip:
    """Change the colours of a clip, the same way in all frames: jitter, white balance and gamma, each with its probability.

    Everything linear in a pixel is one matrix, contrast and gamma are one table.
    """
    matrix, contrast, exponent = np.eye(3), 1.0, 1.0
    if happens(how.white_balance, rng):
        red, blue = np.exp(rng.uniform(-1.0, 1.0, 2) * how.white_balance_strength)
        matrix = np.diag([red, 1.0, blue])
    if happens(how.color_jitter, rng):
        brightness, contrast, saturation = 1.0 + rng.uniform(-1.0, 1.0, 3) * (
            how.brightness,
            how.contrast,
            how.saturation,
        )
        matrix = brightness * color_matrix(saturation, rng.uniform(-how.hue, how.hue)) @ matrix
    if happens(how.gamma, rng):
        exponent = float(np.exp(rng.uniform(-how.gamma_strength, how.gamma_strength)))
    tall = clip.reshape(-1, *clip.shape[2:])
    if not np.array_equal(matrix, np.eye(3)):
        tall = cv2.transform(tall, matrix.astype(np.float32))
    if (contrast, exponent) != (1.0, 1.0):
        mean = float(RGB_TO_YIQ[0] @ cv2.mean(tall)[:3])
        levels = (np.arange(256.0) - mean) * contrast + mean
        levels = 255 * (np.clip(levels, 0, 255) / 255) ** exponent
        tall = cv2.LUT(tall, np.round(levels).astype(np.uint8))
    return np.asarray(tall).reshape(clip.shape)


def color_matrix(saturation: float, hue: float) -> Float[np.ndarray, "3 3"]:
    """Return the matrix on RGB that scales saturation and turns the hue by a fraction of the circle."""
    turn = 2 * np.pi * hue
    rotation = saturation * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.eye(3)
    middle[1:, 1:] = rotation
    return np.linalg.inv(RGB_TO_YIQ) @ middle @ RGB_TO_YIQ


def degrade(clip: Clip, how: Augmentation, rng: np.random.Generator) -> Clip:
    """Make a clip worse, in the order in which a camera does: few pixels, blur, noise, compression.

    How strongly is drawn once a clip; only the noise differs from frame to frame.
    """
    if happens(how.low_resolution, rng):
        clip = lower_resolution(clip, rng.uniform(how.low_resolution_scale, 1.0))
    if happens(how.blur, rng):
        sigma = rng.uniform(0.0, how.blur_sigma) * clip.shape[1]
        clip = np.stack([cv2.GaussianBlur(frame, (0, 0), max(sigma, 1e-3)) for frame in clip])
    if happens(how.noise, rng):
        clip = add_noise(clip, 255 * rng.uniform(0.0, how.noise_deviation), rng)
    if happens(how.jpeg, rng):
        clip = compress(clip, int(rng.integers(int(how.jpeg_quality), 96)))
    return clip


def lower_resolution(clip: Clip, scale: float) -> Clip:
    """Shrink the frames to `scale` of their sides, and enlarge them again."""
    height, width = clip.shape[1:3]
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    lowered = np.empty_like(clip)
    for frame, out in zip(clip, lowered, strict=True):
        shrunk = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
        cv2.resize(shrunk, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
    return lowered


def add_noise(clip: Clip, deviation: float, rng: np.random.Generator) -> Clip:
    """Add normal noise of a deviation in grey levels, independent in every frame and channel."""
    # Drawing three numbers a pixel would take as long as decoding the frames: every frame gets a part of one long table.
    table = _noise(clip[0].size)
    noisy = np.empty_like(clip)
    for frame, out in zip(clip, noisy, strict=True):
        start = rng.integers(NOISE_STARTS)
        noise = table[start : start + frame.size] * np.float32(deviation)
        cv2.add(frame, noise.reshape(frame.shape), dst=out, dtype=cv2.CV_8U)
    return noisy


def compress(clip: Clip, quality: int) -> Clip:
    """Compress the frames as JPEG of a quality from 1 to 100, and decode them."""
    compressed = np.empty_like(clip)
    for frame, out in zip(clip, compressed, strict=True):
        encoded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
        assert decoded is not None, "OpenCV cannot read what it wrote"
        out[...] = decoded
    return compressed


@functools.cache
def _noise(frame_size: int) -> Float[np.ndarray, " N"]:
    return np.random.default_rng(0).standard_normal(NOISE_STARTS + frame_size, np.float32)
