"""Random augmentation of clips; all frames of a clip share one random draw."""

import cv2
import numpy as np
from jaxtyping import UInt8

from vreid_jax.config.inputs import FLOW_CHANNELS, RGB_CHANNELS
from vreid_jax.config.phases import Augmentation
from vreid_jax.data.camera_effects import degrade, recolour
from vreid_jax.data.chance import happens
from vreid_jax.data.flow_stacks import fill, with_x_negated
from vreid_jax.data.occlusion import Other, erase, occlude
from vreid_jax.data.resizing import Clip, Resized, resize, resize_into

ENLARGEMENT = 9 / 8  # 288x144 for a crop of 256x128, as in the papers with random crops


def augment(
    frames: Clip,
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    other: Other | None = None,
    **fields: float | int,
) -> Resized:
    """Resize a clip and change it at random, all of its frames alike; only noise differs from frame to frame.

    The order is: crop from an enlargement, mirror, pad and crop, another person, colours, few pixels, blur, noise,
    compression, erase. What has probability 0 draws nothing, apart from the first two.

    Optical flow is cropped and mirrored as its pictures are; mirroring also negates x. All that comes after changes the
    pictures alone, which a clip of flow does not have.

    Args:
      frames: `[T, h, w, C]` uint8, C of `config.inputs.CHANNELS`.
      height: output height in pixels.
      width: output width in pixels.
      rng: the only source of randomness.
      other: gives the people that `paste` puts in front; without it nobody is pasted.
      **fields: those of `config.phases.Augmentation`, all off by default.

    Returns:
      `[T, height, width, C]` uint8.

    Raises:
      InputError: for a field out of its range.
    """
    return augment_as(Augmentation(**fields), frames, height, width, rng, other)


def augment_as(
    how: Augmentation, frames: Clip, height: int, width: int, rng: np.random.Generator, other: Other | None = None
) -> Resized:
    """Change a clip as `augment` does, by settings that are parsed already, which takes longer than changing a small clip."""
    clip = _placed(frames, height, width, rng, how)
    if happens(how.pad_crop, rng):
        clip = _padded_and_cropped(clip, round(how.padding * height), rng)
    if clip.shape[-1] == RGB_CHANNELS:
        return _pictured(clip, how, rng, other)
    if clip.shape[-1] > FLOW_CHANNELS:
        pictures = _pictured(np.ascontiguousarray(clip[..., :RGB_CHANNELS]), how, rng, other)
        return np.concatenate([pictures, clip[..., RGB_CHANNELS:]], -1)
    return clip


def _pictured(
    pictures: UInt8[np.ndarray, "T H W 3"], how: Augmentation, rng: np.random.Generator, other: Other | None
) -> UInt8[np.ndarray, "T H W 3"]:
    """Put another person in front, and change what the camera does to the pictures."""
    clip = occlude(pictures, how, rng, other)
    clip = degrade(recolour(clip, how, rng), how, rng)
    return erase(clip, how, rng)


def _placed(frames: Clip, height: int, width: int, rng: np.random.Generator, how: Augmentation) -> Resized:
    """Resize a clip, mirror it with the probability of `flip`, crop it from a 9/8 enlargement with `enlarge_crop`'s."""
    enlarged = rng.random() < how.enlarge_crop
    mirrored = rng.random() < how.flip
    top = left = 0
    tall, wide = height, width
    if enlarged:
        tall, wide = round(height * ENLARGEMENT), round(width * ENLARGEMENT)
        top, left = rng.integers(tall - height + 1), rng.integers(wide - width + 1)
    if not enlarged and not mirrored:
        return resize(frames, height, width)
    # Frame by frame into one array: intermediate copies of whole clips would cost more than decoding them.
    channels = frames.shape[-1]
    clip = np.empty((len(frames), height, width, channels), np.uint8)
    enlargement = np.empty((tall, wide, channels), np.uint8)
    for frame, out in zip(frames, clip, strict=True):
        if frame.shape[:2] != (tall, wide):
            resize_into(frame, enlargement)
            frame = enlargement
        window = frame[top : top + height, left : left + width]
        if mirrored:
            cv2.flip(window, 1, dst=out)
        else:
            out[...] = window
    return with_x_negated(clip) if mirrored else clip


def _padded_and_cropped(clip: Clip, padding: int, rng: np.random.Generator) -> Clip:
    """Move a clip by up to `padding` pixels along both sides; what comes into the picture is black, and does not move."""
    down, right = (int(n) for n in rng.integers(-padding, padding + 1, 2))
    height, width = clip.shape[1:3]
    moved = np.empty_like(clip)
    moved[...] = fill(clip.shape[-1])
    to_rows, from_rows = _overlap(down, height)
    to_columns, from_columns = _overlap(right, width)
    moved[:, to_rows, to_columns] = clip[:, from_rows, from_columns]
    return moved


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """Return where a shifted side of a picture lies in the frame, and which part of the picture that is."""
    return slice(max(shift, 0), size + min(shift, 0)), slice(max(-shift, 0), size + min(-shift, 0))
