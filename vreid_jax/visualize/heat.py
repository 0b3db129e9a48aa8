"""Overlay maps of a network on the frames that it saw."""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vreid_jax.errors import InputError
from vreid_jax.visualize.contact_sheet import Row

Frames = UInt8[np.ndarray, "T H W 3"]


def overlay(frames: Frames, heat: Float[np.ndarray, "t h w"], strength: float = 0.6) -> Frames:
    """Overlay a map on a clip, in warm colours where it is large.

    Args:
      frames: uint8 RGB.
      heat: values in [0, 1], resized in space and repeated in time to match the frames.
      strength: opacity of the map, from 0 (not visible) to 1 (frames hidden).
    """
    height, width = frames.shape[1:3]
    pictures = []
    for number, frame in enumerate(frames):
        level = cv2.resize(heat[number * len(heat) // len(frames)], (width, height), interpolation=cv2.INTER_LINEAR)
        colour = cv2.applyColorMap((255 * np.clip(level, 0, 1)).astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]
        pictures.append(((1 - strength) * frame + strength * colour).astype(np.uint8))
    return np.stack(pictures)


def part_map_rows(label: str, frames: Frames, maps: Float[np.ndarray, "t h w P"]) -> list[Row]:
    """Return the clip, then each part's map over it, scaled from its minimum to its maximum (PersonVLAD, Fig. 8).

    Args:
      label: label of the clip.
      frames: uint8 RGB.
      maps: one map for each of P parts.
    """
    rows: list[Row] = [(label, list(frames))]
    for part in range(maps.shape[-1]):
        own = maps[..., part]
        caption = f"part {part + 1}, from {own.min():.2f} to {own.max():.2f}"
        rows.append((caption, list(overlay(frames, _scaled(own)))))
    return rows


def response_rows(label: str, frames: Frames, outputs: Mapping[str, np.ndarray]) -> list[Row]:
    """Return the clip, then the norm of each layer's features at every position over it (PersonVLAD, Fig. 5).

    Args:
      label: label of the clip.
      frames: uint8 RGB.
      outputs: the clip's endpoints by name, `[t, h, w, C]`, in the order of the rows.

    Raises:
      InputError: for an endpoint of another shape.
    """
    rows: list[Row] = [(label, list(frames))]
    for name, response in outputs.items():
        if response.ndim != 4:
            raise InputError(f"layer {name} has shape {response.shape}; it must be [t, h, w, C]")
        rows.append((name, list(overlay(frames, _scaled(np.linalg.norm(response, axis=-1))))))
    return rows


def attention_rows(
    label: str, frames: Frames, attention: Float[np.ndarray, "t h w"], position: tuple[int, int, int], scale: int = 4
) -> list[Row]:
    """Return the clip with a ring at one position, then the clip with what that position attends to.

    As in Figure 6 of the 3-D ResNet paper: the cell with the most attention has the warmest colour.

    Args:
      label: label of the clip.
      frames: uint8 RGB.
      attention: attention of the position to each cell of the clip.
      position: frame, row and column in pixels.
      scale: factor by which frames are enlarged.

    Raises:
      InputError: for a position outside the clip.
    """
    if any(not 0 <= p < size for p, size in zip(position, frames.shape[:3], strict=True)):
        raise InputError(
            f"position {position} lies outside the clip, whose frames, rows and columns are {frames.shape[:3]}"
        )
    large = np.stack([cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) for frame in frames])
    warm = overlay(large, (attention / attention.max()).astype(np.float32))
    centre = tuple(round((p + 0.5) * scale) for p in position[:0:-1])
    radius = large.shape[1] // 16
    cv2.circle(large[position[0]], centre, radius, (255, 230, 0), max(1, radius // 4), cv2.LINE_AA)
    return [(label, list(large)), (f"attention of frame {position[0]}, {position[1:]}", list(warm))]


def _scaled(x: np.ndarray) -> np.ndarray:
    """Return values scaled to [0, 1], from the smallest to the largest."""
    low, high = float(x.min()), float(x.max())
    return ((x - low) / max(high - low, 1e-12)).astype(np.float32)
