"""Blur the heads of people in pictures that leave the house."""

import cv2
import numpy as np
from jaxtyping import UInt8

SHARE = 0.22  # of a box of a whole person: head and neck, and some more, since boxes are not exact
CELLS = (2, 3)  # numbers left of a head, downwards and across
FADE = 0.05  # of the height: the blur ends over this much


def blur_heads(frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T H W 3"]:
    """Return frames of one person whose upper part is blurred; the person is taken to fill the frame.

    All that stays of the head is 2 x 3 mean colours with smooth transitions, so that no filter can bring it back. The rest
    of the picture stays, and with it clothes, build and gait, by which people can be recognised too.

    Args:
      frames: uint8 `[T, H, W, 3]`.
    """
    height, width = frames.shape[1:3]
    blurred, faded = max(1, round(SHARE * height)), max(1, round(FADE * height))
    end = min(height, blurred + faded)
    weights = np.clip((end - np.arange(end)) / (end - blurred + 1), 0.0, 1.0).astype(np.float32)[:, None, None]
    result = frames.copy()
    for frame in result:
        head = frame[:end]
        few = cv2.resize(head[:blurred], CELLS[::-1], interpolation=cv2.INTER_AREA)
        smooth = cv2.resize(few, (width, end), interpolation=cv2.INTER_CUBIC)
        head[:] = (weights * smooth + (1.0 - weights) * head).round().astype(np.uint8)
    return result
