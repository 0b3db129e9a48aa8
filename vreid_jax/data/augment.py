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
    top = left = 0
    tall, wide = height, width
    if enlarged:
        tall, wide = round(height * ENLARGE), round(width * ENLARGE)
        top, left = rng.integers(tall - height + 1), rng.integers(wide - width + 1)
    if not enlarged and not mirrored:
        return resize(frames, height, width)
    # Frame by frame into one array: whole clips in between would cost more than the decoding.
    clip = np.empty((len(frames), height, width, 3), np.uint8)
    whole = np.empty((tall, wide, 3), np.uint8)
    for frame, out in zip(frames, clip, strict=True):
        if frame.shape[:2] != (tall, wide):
            _resize_into(frame, whole)
            frame = whole
        window = frame[top : top + height, left : left + width]
        if mirrored:
            cv2.flip(window, 1, dst=out)
        else:
            out[...] = window
    return clip
