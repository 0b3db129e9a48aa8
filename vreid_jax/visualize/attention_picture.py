"""The picture of what one position of a clip attends to, as Fig. 6 of the 3-D ResNet paper shows it."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vreid_jax.errors import InputError


def attention_picture(
    frames: UInt8[np.ndarray, "T H W 3"],
    attention: Float[np.ndarray, "t h w"],
    position: tuple[int, int, int],
    cell_height: int = 192,
) -> UInt8[np.ndarray, "Y X 3"]:
    """Two rows: the clip, the asking position ringed; below it each frame under the attention its cells get.

    `attention` of fewer frames than the clip is shown for every frame its cell covers; the strongest cell of the clip
    is full red. `position` is (frame, row, column) in pixels. The picture is RGB, its frames `cell_height` pixels
    high. Raises `InputError` for a position outside of the clip.
    """
    length, height, width = frames.shape[:3]
    if any(not 0 <= p < size for p, size in zip(position, frames.shape[:3], strict=True)):
        raise InputError(f"position {position} lies outside of the clip's frames, rows and columns {frames.shape[:3]}")
    size = (max(1, round(width * cell_height / height)), cell_height)
    strength = attention / attention.max()
    plain, covered = [], []
    for number, frame in enumerate(frames):
        large = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
        mask = strength[number * len(strength) // length].astype(np.float32)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)[..., None]
        grey = cv2.cvtColor(cv2.cvtColor(large, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
        red = np.array([255.0, 40.0, 20.0], np.float32)
        covered.append((grey * (1 - 0.75 * mask) + red * 0.75 * mask).astype(np.uint8))
        if number == position[0]:
            large = large.copy()
            centre = tuple(round((p + 0.5) * cell_height / height) for p in position[:0:-1])
            cv2.circle(large, centre, cell_height // 16, (255, 230, 0), max(2, cell_height // 64), cv2.LINE_AA)
        plain.append(large)
    gap = np.full((4, length * size[0], 3), 255, np.uint8)
    return np.concatenate([np.concatenate(plain, 1), gap, np.concatenate(covered, 1)])
