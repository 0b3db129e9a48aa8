"""Resizing and random augmentation of clips; all frames of a clip share one random draw."""

import cv2
import numpy as np
from jaxtyping import UInt8

Clip = UInt8[np.ndarray, "T H W 3"]
Resized = UInt8[np.ndarray, "T {height} {width} 3"]

ENLARGEMENT = 9 / 8  # 288x144 for a crop of 256x128, as in the papers with random crops


def resize(frames: Clip, height: int, width: int) -> Resized:
    """Resize every frame to `height` x `width`: bilinear, or area averaging where both sides shrink."""
    if frames.shape[1:3] == (height, width):
        return frames
    resized = np.empty((len(frames), height, width, 3), np.uint8)
    for frame, out in zip(frames, resized, strict=True):
        _resize_into(frame, out)
    return resized


def _resize_into(frame: UInt8[np.ndarray, "h w 3"], out: UInt8[np.ndarray, "H W 3"]) -> None:
    height, width = out.shape[:2]
    shrinks = height < frame.shape[0] and width < frame.shape[1]
    cv2.resize(frame, (width, height), dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def augment(
    frames: Clip, height: int, width: int, rng: np.random.Generator, *, flip: float = 0.0, enlarge_crop: float = 0.0
) -> Resized:
    """Resize a clip and, with the given probabilities, mirror it and crop it from a 9/8 enlargement.

    Args:
      frames: `[T, h, w, 3]` uint8.
      height: output height in pixels.
      width: output width in pixels.
      rng: the only source of randomness, drawn from once per clip, so that all frames move together.
      flip: probability of mirroring horizontally.
      enlarge_crop: probability of resizing to 9/8 of the output size and cropping at a random position.

    Returns:
      `[T, height, width, 3]` uint8.
    """
    enlarged = rng.random() < enlarge_crop
    mirrored = rng.random() < flip
    top = left = 0
    tall, wide = height, width
    if enlarged:
        tall, wide = round(height * ENLARGEMENT), round(width * ENLARGEMENT)
        top, left = rng.integers(tall - height + 1), rng.integers(wide - width + 1)
    if not enlarged and not mirrored:
        return resize(frames, height, width)
    # Frame by frame into one array: intermediate copies of whole clips would cost more than decoding them.
    clip = np.empty((len(frames), height, width, 3), np.uint8)
    enlargement = np.empty((tall, wide, 3), np.uint8)
    for frame, out in zip(frames, clip, strict=True):
        if frame.shape[:2] != (tall, wide):
            _resize_into(frame, enlargement)
            frame = enlargement
        window = frame[top : top + height, left : left + width]
        if mirrored:
            cv2.flip(window, 1, dst=out)
        else:
            out[...] = window
    return clip
