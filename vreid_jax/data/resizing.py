"""Resizing of clips."""

import cv2
import numpy as np
from jaxtyping import UInt8

Clip = UInt8[np.ndarray, "T H W C"]
Resized = UInt8[np.ndarray, "T {height} {width} C"]

_AT_ONCE = 4  # channels that OpenCV averages over areas


def resize(frames: Clip, height: int, width: int) -> Resized:
    """Resize every frame to `height` x `width`: bilinear, or area averaging where both sides shrink."""
    if frames.shape[1:3] == (height, width):
        return frames
    resized = np.empty((len(frames), height, width, frames.shape[-1]), np.uint8)
    for frame, out in zip(frames, resized, strict=True):
        resize_into(frame, out)
    return resized


def resize_into(frame: UInt8[np.ndarray, "h w C"], out: UInt8[np.ndarray, "H W C"]) -> None:
    """Resize one frame to the size of `out`, as `resize` does, and write it there."""
    height, width, channels = out.shape
    shrinks = height < frame.shape[0] and width < frame.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if channels <= _AT_ONCE:
        cv2.resize(frame, (width, height), dst=out, interpolation=how)
        return
    for first in range(0, channels, _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        part = cv2.resize(np.ascontiguousarray(frame[..., some]), (width, height), interpolation=how)
        out[..., some] = part.reshape(height, width, -1)
