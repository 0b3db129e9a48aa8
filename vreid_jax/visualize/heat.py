"""Maps of a network laid over the frames that it saw."""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vreid_jax.errors import InputError
from vreid_jax.visualize.contact_sheet import Row

Frames = UInt8[np.ndarray, "T H W 3"]


def overlay(frames: Frames, heat: Float[np.ndarray, "t h w"], strength: float = 0.6) -> Frames:
    """Lay a map over a clip: warm where it is large; `heat` in [0, 1], stretched over space and repeated over time."""
    height, width = frames.shape[1:3]
    pictures = []
    for number, frame in enumerate(frames):
        level = cv2.resize(heat[number * len(heat) // len(frames)], (width, height), interpolation=cv2.INTER_LINEAR)
        colour = cv2.applyColorMap(np.uint8(255 * np.clip(level, 0, 1)), cv2.COLORMAP_JET)[..., ::-1]
        pictures.append(np.uint8((1 - strength) * frame + strength * colour))
    return np.stack(pictures)


def part_map_rows(label: str, frames: Frames, maps: Float[np.ndarray, "t h w P"]) -> list[Row]:
    """The clip, then each part's map over it, stretched from its smallest to its largest value (PersonVLAD, Fig. 8)."""
    rows: list[Row] = [(label, list(frames))]
    for part in range(maps.shape[-1]):
        own = maps[..., part]
        caption = f"part {part + 1}, from {own.min():.2f} to {own.max():.2f}"
        rows.append((caption, list(overlay(frames, _stretched(own)))))
    return rows


def response_rows(label: str, frames: Frames, outputs: Mapping[str, np.ndarray]) -> list[Row]:
    """The clip, then the length of the feature vector at every position of each layer of `outputs` (Fig. 5).

    `outputs` are one clip's endpoints by name, [t, h, w, C], in the order of the rows.
    """
    rows: list[Row] = [(label, list(frames))]
    for name, response in outputs.items():
        if response.ndim != 4:
            raise InputError(f"layer {name} has shape {response.shape}, expected [t, h, w, C]")
        rows.append((name, list(overlay(frames, _stretched(np.linalg.norm(response, axis=-1))))))
    return rows


def attention_rows(
    label: str, frames: Frames, attention: Float[np.ndarray, "t h w"], position: tuple[int, int, int], scale: int = 4
) -> list[Row]:
    """The clip with a ring at the asking `position`, (frame, row, column) in pixels; then what it attends to.

    As Fig. 6 of the 3-D ResNet paper; the strongest cell of the clip is warmest. Frames are enlarged `scale` times.
    Raises `InputError` for a position outside of the clip.
    """
    if any(not 0 <= p < size for p, size in zip(position, frames.shape[:3], strict=True)):
        raise InputError(f"position {position} lies outside of the clip's frames, rows and columns, {frames.shape[:3]}")
    large = np.stack([cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) for frame in frames])
    warm = overlay(large, np.float32(attention / attention.max()))
    centre = tuple(round((p + 0.5) * scale) for p in position[:0:-1])
    radius = large.shape[1] // 16
    cv2.circle(large[position[0]], centre, radius, (255, 230, 0), max(1, radius // 4), cv2.LINE_AA)
    return [(label, list(large)), (f"attention of frame {position[0]}, {position[1:]}", list(warm))]


def _stretched(x: np.ndarray) -> np.ndarray:
    low, high = float(x.min()), float(x.max())
    return ((x - low) / max(high - low, 1e-12)).astype(np.float32)
