"""What hides a person: an erased rectangle, or somebody else in front."""

# OpenCV and NumPy leave the type of some results unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import UInt8

from vreid_jax.config.phases import Augmentation
from vreid_jax.data.chance import happens

Clip = UInt8[np.ndarray, "T H W 3"]
Other = Callable[[int, np.random.Generator], UInt8[np.ndarray, "T h w C"]]
"""`other(num_frames, rng)` gives so many frames of somebody else: RGB, or RGBA where only part of a frame is of a person."""

ERASED_ASPECT = 10 / 3  # at most, height to width or width to height: as Zhong et al., 0.3 to 3.3
ERASE_ATTEMPTS = 100
OTHER_HEIGHT = (0.7, 1.1)  # of the frame's
OTHER_DROP = (
    0.0,
    0.5,
)  # of the frame's height, from its top: who is in front of a camera above is lower in the picture


def occlude(clip: Clip, how: Augmentation, rng: np.random.Generator, other: Other | None) -> Clip:
    """Paste somebody else in front of a person, with the probability of `paste`; without an `other` never."""
    if other is None or not happens(how.paste, rng):
        return clip
    covered = rng.uniform(0.0, how.paste_cover)
    tall, drop, from_left = rng.uniform(*OTHER_HEIGHT), rng.uniform(*OTHER_DROP), rng.random() < 0.5
    people = other(len(clip), rng)
    height, width = clip.shape[1:3]
    size = (max(1, round(width * tall)), max(1, round(height * tall)))
    top, columns = round(height * drop), min(round(width * covered), size[0])
    rows = min(height - top, size[1])
    if not columns or not rows:
        return clip
    pasted = clip.copy()
    for frame, person in zip(pasted, people, strict=True):
        person = cv2.resize(person, size, interpolation=cv2.INTER_LINEAR)
        if from_left:  # the near side of the other person reaches into the picture
            part, place = person[:rows, size[0] - columns :], frame[top : top + rows, :columns]
        else:
            part, place = person[:rows, :columns], frame[top : top + rows, width - columns :]
        if part.shape[2] == 3:
            place[...] = part
        else:
            opaque = part[..., 3:].astype(np.float32) / 255
            place[...] = np.round(opaque * part[..., :3] + (1 - opaque) * place)
    return pasted


def erase(clip: Clip, how: Augmentation, rng: np.random.Generator) -> Clip:
    """Fill a rectangle, the same in all frames, with random pixels, with the probability of `erase` (Zhong et al. 2020).

    Its area is a uniform share of the frame's between `erase_least` and `erase_most`, its aspect ratio uniform in
    logarithm between 0.3 and 3.3. A rectangle that does not fit is drawn anew, up to 100 times.
    """
    if not happens(how.erase, rng):
        return clip
    height, width = clip.shape[1:3]
    for _ in range(ERASE_ATTEMPTS):
        area = rng.uniform(how.erase_least, how.erase_most) * height * width
        aspect = np.exp(rng.uniform(-1.0, 1.0) * np.log(ERASED_ASPECT))
        tall, wide = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < tall < height and 0 < wide < width:
            top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
            erased = clip.copy()
            erased[:, top : top + tall, left : left + wide] = rng.integers(0, 256, (tall, wide, 3), np.uint8)
            return erased
    return clip
