"""Corrupted clips, with which the clip-similarity paper tests robustness: downscaled, compressed and upscaled frames."""

import zlib

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from vreid_jax.errors import InputError

DOWNSCALING = 5
JPEG_QUALITY = 50  # the paper does not give it (choice)


def corrupt(frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T H W 3"]:
    """Scale RGB frames down by 5, compress them as JPEG of quality 50, and scale them up to their size again."""
    return np.stack([_corrupt_frame(frame) for frame in frames])


def _corrupt_frame(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    size = (max(1, round(width / DOWNSCALING)), max(1, round(height / DOWNSCALING)))
    small = cv2.resize(np.ascontiguousarray(frame[..., ::-1]), size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV cannot read what it wrote"
    return cv2.resize(decoded, (width, height), interpolation=cv2.INTER_LINEAR)[..., ::-1]


def draw_corrupted(num_clips: int, most: int, rng: np.random.Generator) -> Bool[np.ndarray, " M"]:
    """Choose which of a tracklet's clips to corrupt: M_c of them at random, M_c uniform in {0, …, `most`}.

    Raises:
      InputError: if `most` is not in [0, `num_clips`].
    """
    if not 0 <= most <= num_clips:
        raise InputError(
            f"clip.corrupt is {most}; it is the most clips of a tracklet to corrupt, of which there are {num_clips}"
        )
    chosen = np.zeros(num_clips, bool)
    if most:
        chosen[rng.permutation(num_clips)[: rng.integers(most + 1)]] = True
    return chosen


def tracklet_generator(seed: int, tracklet_id: str) -> np.random.Generator:
    """Return the random generator of a test tracklet, which does not depend on its position in a split."""
    return np.random.default_rng((seed, 5, zlib.crc32(str(tracklet_id).encode())))
