"""Augmentation of clips: one draw per clip, the same for all of its frames."""

import cv2
import numpy as np
from jaxtyping import UInt8

Clip = UInt8[np.ndarray, "T H W 3"]
Resized = UInt8[np.ndarray, "T {height} {width} 3"]

ENLARGE = 9 / 8  # 288x144 around a crop of 256x128, as in the papers with random crops


def resize(frames: Clip, height: int, width: int) -> Resized:
    """Resize every frame to `height` x `width` (bilinear; area averaging when it shrinks); `[T, H, W, 3]` uint8."""
    if frames.shape[1:3] == (height, width):
        return frames
    shrinks = height < frames.shape[1] and width < frames.shape[2]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (width, height), interpolation=method) for frame in frames])


def augment(
    frames: Clip, height: int, width: int, rng: np.random.Generator, *, flip: float = 0.0, enlarge_crop: float = 0.0
) -> Resized:
    """Resize a clip and, with the given probabilities, mirror it and crop it out of a 9/8 larger picture.

    Args:
      frames: `[T, h, w, 3]` uint8.
      height: output height in pixels.
      width: output width in pixels.
      rng: the only source of randomness; one draw per clip, so all frames move together.
      flip: probability of a horizontal mirror image.
      enlarge_crop: probability of a resize to 9/8 of the output size and a crop at a random place.

    Returns:
      `[T, height, width, 3]` uint8.
    """
    enlarged = rng.random() < enlarge_crop
    mirrored = rng.random() < flip
    if enlarged:
        tall, wide = round(height * ENLARGE), round(width * ENLARGE)
        top, left = rng.integers(tall - height + 1), rng.integers(wide - width + 1)
        frames = resize(frames, tall, wide)[:, top : top + height, left : left + width]
    else:
        frames = resize(frames, height, width)
    return np.ascontiguousarray(frames[:, :, ::-1] if mirrored else frames)
