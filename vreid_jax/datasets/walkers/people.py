"""The people: clothes, build and posture of an appearance, and the gait of an identity."""

import colorsys
import dataclasses
from collections.abc import Iterable

import numpy as np

from vreid_jax.datasets.walkers.anatomy import Body

SLOWEST, FASTEST = (
    1 / 20,
    1 / 6,
)  # strides per frame; a stride is two steps, so the picture repeats every 3 frames at the most

Colour = tuple[int, int, int]


def as_colour(values: Iterable[float]) -> Colour:
    """Return three levels as a colour, cut to whole numbers."""
    red, green, blue = map(int, values)
    return red, green, blue


@dataclasses.dataclass(frozen=True)
class Outfit:
    """Clothes and hair; colours are RGB in 0…255."""

    shirt: Colour
    second: Colour  # of the shirt's pattern
    trousers: Colour
    shoes: Colour
    skin: Colour
    hair: Colour
    bag_colour: Colour
    pattern: str  # plain, stripes, block, zip
    sleeves: str  # long, short
    legs: str  # long, shorts
    coat: float  # how far the upper garment covers the thigh, 0 … 1
    bag: str  # none, backpack, shoulder, hand
    hairstyle: str  # short, long, bald, cap


@dataclasses.dataclass(frozen=True)
class Gait:
    """Dynamics: strides per frame, and by how much the arms lead the legs, in radians."""

    frequency: float
    arm_offset: float


def _cloth(rng: np.random.Generator) -> Colour:
    if rng.random() < 0.35:  # black, grey, white
        level = rng.choice([25, 60, 115, 170, 228]) + rng.integers(-12, 13)
        return as_colour(np.clip(level + d, 8, 250) for d in rng.integers(-6, 7, 3))
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.35, 0.95), rng.uniform(0.25, 0.95))
    return as_colour((255 * red, 255 * green, 255 * blue))


_SKIN = [(244, 208, 180), (224, 178, 142), (198, 146, 108), (150, 102, 72), (104, 70, 52)]
_HAIR = [(28, 22, 20), (62, 42, 30), (112, 76, 44), (186, 148, 88), (150, 146, 142), (120, 50, 30)]


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Draw clothes at random."""
    return Outfit(
        shirt=_cloth(rng),
        second=_cloth(rng),
        trousers=_cloth(rng),
        shoes=_cloth(rng),
        skin=_SKIN[rng.integers(len(_SKIN))],
        hair=_HAIR[rng.integers(len(_HAIR))],
        bag_colour=_cloth(rng),
        pattern=str(rng.choice(["plain", "stripes", "block", "zip"], p=[0.45, 0.2, 0.2, 0.15])),
        sleeves=str(rng.choice(["long", "short"], p=[0.6, 0.4])),
        legs=str(rng.choice(["long", "shorts"], p=[0.8, 0.2])),
        coat=float(rng.choice([0.12, 0.55, 0.9], p=[0.7, 0.2, 0.1])),
        bag=str(rng.choice(["none", "backpack", "shoulder", "hand"], p=[0.5, 0.2, 0.15, 0.15])),
        hairstyle=str(rng.choice(["short", "long", "bald", "cap"], p=[0.5, 0.3, 0.05, 0.15])),
    )


def sample_body(rng: np.random.Generator) -> Body:
    """Draw build, posture and amplitudes of limbs, all of which a single frame shows."""
    return Body(
        build=rng.uniform(0.82, 1.28),
        leg_swing=rng.uniform(0.40, 0.60),
        arm_swing=rng.uniform(0.25, 0.70),
        knee_bend=rng.uniform(0.5, 0.9),
        elbow_bend=rng.uniform(0.15, 0.9),
        lean=rng.uniform(-0.02, 0.16),
        arms_out=rng.uniform(0.05, 0.3),
        head=rng.uniform(0.060, 0.072),
    )


def sample_gait(rng: np.random.Generator) -> Gait:
    """Draw the gait of a person without a twin."""
    frequency = np.exp(rng.uniform(np.log(SLOWEST), np.log(FASTEST)))
    return Gait(float(frequency), float(rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.2)))


def sample_twin_gaits(rng: np.random.Generator, count: int) -> list[Gait]:
    """Draw the gaits of a group of twins, with frequencies at least a factor 2.1 apart in a pair, 1.4 in four, 1.15 in eight.

    Neighbouring frequencies get opposite signs of the arm offset; its size, which a frame shows, is common to all.
    """
    spread = np.log(FASTEST / SLOWEST)
    span = rng.uniform(0.86, 1.0) if count > 2 else rng.uniform(0.62, 0.8)
    steps = np.linspace(0.0, span, count) + rng.uniform(0.0, 1.0 - span)
    offset = rng.uniform(0.3, 1.2)
    sign = rng.choice([-1.0, 1.0])
    gaits = [Gait(float(SLOWEST * np.exp(spread * s)), float(sign * offset * (-1) ** i)) for i, s in enumerate(steps)]
    return [gaits[i] for i in rng.permutation(count)]
