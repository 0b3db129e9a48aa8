"""Corrupted clips: frames scaled down, compressed and scaled up again, as the clip-similarity paper tests robustness."""

import zlib

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from vreid_jax.errors import InputError

FACTOR = 5
QUALITY = 50  # of JPEG; the paper does not say (choice)


def corrupt(frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T H W 3"]:
    """Scale RGB frames down by 5, compress them as JPEG of quality 50, and scale them up to their size again."""
    return np.stack([_corrupt(frame) for frame in frames])


def _corrupt(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    size = (max(1, round(width / FACTOR)), max(1, round(height / FACTOR)))
    small = cv2.resize(np.ascontiguousarray(frame[..., ::-1]), size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return cv2.resize(decoded, (width, height), interpolation=cv2.INTER_LINEAR)[..., ::-1]


def draw_corrupted(num_clips: int, most: int, rng: np.random.Generator) -> Bool[np.ndarray, " M"]:
    """Which of a tracklet's clips are corrupted: M_c of them at random, M_c uniform in {0, …, `most`}.

    Raises:
      InputError: when `most` is not in [0, `num_clips`].
    """
    if not 0 <= most <= num_clips:
        raise InputError(f"clip.corrupt is {most}, the most clips of a tracklet that are corrupted; it has {num_clips}")
    chosen = np.zeros(num_clips, bool)
    if most:
        chosen[rng.permutation(num_clips)[: rng.integers(most + 1)]] = True
    return chosen


def tracklet_generator(seed: int, tracklet_id: str) -> np.random.Generator:
    """Return the source of a test tracklet's randomness: the same wherever the tracklet stands in a split."""
    return np.random.default_rng((seed, 5, zlib.crc32(str(tracklet_id).encode())))
