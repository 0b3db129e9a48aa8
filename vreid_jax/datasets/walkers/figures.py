"""From joints to pictures: the coloured polygons of a dressed person, back to front."""

import cv2
import numpy as np

from vreid_jax.datasets.walkers.anatomy import Body, joints, project
from vreid_jax.datasets.walkers.people import Colour, Outfit, as_colour

SHIFT = 4  # fractional bits of polygon corners
Part = tuple[np.ndarray, Colour]  # [T, K, 2] corners of a convex polygon in standing heights, and its colour

_ARC = np.linspace(np.pi / 2, 3 * np.pi / 2, 6)
_CIRCLE = np.linspace(0, 2 * np.pi, 13)[:-1]


def _capsule(start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float) -> np.ndarray:
    """Return a limb from `start` to `end` (`[T, 2]`) with round ends → `[T, 12, 2]`."""
    along = end - start
    angle = np.arctan2(along[:, 1], along[:, 0])[:, None]
    near, far = angle + _ARC, angle + _ARC + np.pi
    near = start[:, None] + start_radius * np.stack([np.cos(near), np.sin(near)], -1)
    far = end[:, None] + end_radius * np.stack([np.cos(far), np.sin(far)], -1)
    return np.concatenate([near, far], axis=1)


def _ellipse(centre: np.ndarray, width: float, height: float) -> np.ndarray:
    return centre[:, None] + np.stack([width * np.cos(_CIRCLE), height * np.sin(_CIRCLE)], -1)


def _dim(colour: Colour, factor: float) -> Colour:
    return as_colour(min(255, factor * c) for c in colour)


class _Figure:
    """Projected joints of one person over time, and the parts built from them."""

    def __init__(self, outfit: Outfit, body: Body, yaw: float, pitch: float, phase: np.ndarray, arm_offset: float):
        self.outfit, self.body, self.yaw = outfit, body, yaw
        self.at = {name: project(p, yaw, pitch) for name, p in joints(body, phase, arm_offset).items()}
        frontal = abs(np.sin(yaw))
        # Half widths of the trunk at shoulders and hips as the camera sees them.
        self.shoulder = body.build * np.hypot(0.105 * frontal, 0.062 * np.cos(yaw))
        self.hip = body.build * np.hypot(0.078 * frontal, 0.066 * np.cos(yaw))

    def leg(self, side: str, light: float) -> list[Part]:
        at, o, b = self.at, self.outfit, self.body.build
        shin = o.trousers if o.legs == "long" else o.skin
        calf = 0.032 if o.legs == "long" else 0.025
        return [
            (_capsule(at[f"{side}_heel"], at[f"{side}_toe"], 0.021, 0.016), _dim(o.shoes, light)),
            (_capsule(at[f"{side}_knee"], at[f"{side}_ankle"], 0.037 * b, calf * b), _dim(shin, light)),
            (_capsule(at[f"{side}_hip"], at[f"{side}_knee"], 0.058 * b, 0.040 * b), _dim(o.trousers, light)),
        ]

    def arm(self, side: str, light: float) -> list[Part]:
        at, o, b = self.at, self.outfit, self.body.build
        lower = o.shirt if o.sleeves == "long" else o.skin
        parts = [
            (_ellipse(at[f"{side}_hand"], 0.021, 0.023), _dim(o.skin, light)),
            (_capsule(at[f"{side}_elbow"], at[f"{side}_hand"], 0.026 * b, 0.020 * b), _dim(lower, light * 0.97)),
            (_capsule(at[f"{side}_shoulder"], at[f"{side}_elbow"], 0.036 * b, 0.028 * b), _dim(o.shirt, light * 0.97)),
        ]
        if o.bag == "hand" and side == "right":
            bag = at["right_hand"] + np.array([0.0, 0.075])
            box = np.array([[-0.05, -0.05], [0.05, -0.05], [0.06, 0.055], [-0.06, 0.055]])
            parts.insert(0, (bag[:, None] + box, _dim(o.bag_colour, light)))
        return parts

    def trunk(self) -> list[Part]:
        at, o = self.at, self.outfit
        collar, pelvis = at["collar"], at["pelvis"]

        def across(level: float, half: float) -> tuple[np.ndarray, np.ndarray]:
            """Return the left and right edge at `level` between collar (0) and pelvis (1)."""
            middle = collar + level * (pelvis - collar)
            return middle - np.array([half, 0.0]), middle + np.array([half, 0.0])

        def width(level: float) -> float:
            return self.shoulder + level * (self.hip - self.shoulder)

        def band(top: float, bottom: float) -> np.ndarray:
            a, b = across(top, width(top))
            c, d = across(bottom, width(bottom))
            return np.stack([a, b, d, c], 1)

        thighs = [at[f"{s}_hip"] + o.coat * (at[f"{s}_knee"] - at[f"{s}_hip"]) for s in ("left", "right")]
        left = np.minimum(thighs[0], thighs[1])[:, 0] - 0.05 * self.body.build
        right = np.maximum(thighs[0], thighs[1])[:, 0] + 0.05 * self.body.build
        low = np.maximum(thighs[0], thighs[1])[:, 1]
        a, b = across(0.75, width(0.75))
        hem = np.stack([a, b, np.stack([right, low], -1), np.stack([left, low], -1)], 1)

        neck_a, neck_b = across(-0.06, 0.45 * self.shoulder)
        top_a, top_b = across(0.04, 0.93 * self.shoulder)
        mid_a, mid_b = across(0.16, self.shoulder)
        hip_a, hip_b = across(1.0, self.hip)
        outline = np.stack([neck_a, neck_b, top_b, mid_b, hip_b, hip_a, mid_a, top_a], 1)
        parts = [(hem, o.shirt), (outline, o.shirt)]
        if o.pattern == "stripes":
            parts += [(band(t, t + 0.11), o.second) for t in (0.18, 0.42, 0.66, 0.88)]
        elif o.pattern == "block":
            parts.append((band(0.5, 1.0), o.second))
            parts.append((hem, o.second))
        elif o.pattern == "zip" and np.sin(self.yaw) > 0.25:
            a, b = across(0.02, 0.14 * self.shoulder)
            c, d = across(1.0, 0.14 * self.shoulder)
            parts.append((np.stack([a, b, d, c], 1), o.second))
        if o.pattern in ("plain", "zip"):  # the side away from the light, so that the trunk looks round
            c, d = across(0.1, width(0.1)), across(1.0, self.hip)
            edge = np.stack([c[0], 0.72 * c[0] + 0.28 * c[1], 0.72 * d[0] + 0.28 * d[1], d[0]], 1)
            parts.append((edge, _dim(o.shirt, 0.80)))
        return parts

    def head(self) -> list[Part]:
        at, o, r = self.at, self.outfit, self.body.head
        head, faces = at["head"], np.sin(self.yaw)
        neck = (_capsule(at["collar"], head, 0.026, 0.026), _dim(o.skin, 0.88))
        skull = (_ellipse(head, 0.82 * r, 1.08 * r), o.skin)
        back = np.array([-np.cos(self.yaw), 0.0])
        if o.hairstyle == "bald":
            return [neck, skull]
        away = max(-faces, 0.0)
        cap = head + 0.34 * r * back + np.array([0.0, r * (-0.42 + 0.30 * away)])
        hair = (_ellipse(cap, (0.80 + 0.06 * away) * r, (0.72 + 0.2 * away) * r), o.hair)
        if o.hairstyle == "cap":
            brim = head - 0.75 * r * back + np.array([0.0, -0.38 * r])
            cap = (_ellipse(head + 0.1 * r * back + np.array([0.0, -0.58 * r]), 0.86 * r, 0.6 * r), o.bag_colour)
            return [neck, skull, cap, (_ellipse(brim, 0.5 * r, 0.14 * r), _dim(o.bag_colour, 0.8))]
        if o.hairstyle == "long":
            fall = _capsule(cap, at["collar"] + 0.5 * r * back + np.array([0.0, 0.03]), 0.8 * r, 0.5 * r)
            if faces > 0.25:  # behind the face
                return [(fall, _dim(o.hair, 0.85)), neck, skull, hair]
            return [neck, skull, hair, (fall, o.hair)]
        return [neck, skull, hair]

    def backpack(self) -> list[Part]:
        side = np.array([-np.cos(self.yaw), 0.0])
        top = self.at["collar"] + 0.25 * (self.at["pelvis"] - self.at["collar"]) + 0.095 * side
        low = self.at["collar"] + 0.68 * (self.at["pelvis"] - self.at["collar"]) + 0.105 * side
        half = 0.05 + 0.022 * abs(np.sin(self.yaw))
        return [(_capsule(top, low, half, 1.1 * half), self.outfit.bag_colour)]

    def shoulder_bag(self) -> list[Part]:
        at, o = self.at, self.outfit
        bag = at["right_hip"] + np.array([-0.02 * np.cos(self.yaw), 0.0])
        box = np.array([[-0.06, -0.05], [0.06, -0.05], [0.06, 0.055], [-0.06, 0.055]])
        strap = _capsule(at["collar"] + np.array([0.0, 0.02]), bag, 0.009, 0.009)
        return [(strap, _dim(o.bag_colour, 0.7)), (bag[:, None] + box, o.bag_colour)]


def person(
    outfit: Outfit, body: Body, yaw: float, pitch: float, phase: np.ndarray, arm_offset: float
) -> tuple[Part, ...]:
    """Return the polygons of a walking person, the farthest first.

    Args:
      outfit: clothes.
      body: build and posture.
      yaw: walking direction, radians: 0 to the right, π/2 towards the camera.
      pitch: how far the camera looks down, radians.
      phase: `[T]` stride phase, radians.
      arm_offset: φ, radians.

    Returns:
      Parts whose corners `[T, K, 2]` have their origin between the feet, y downwards, in standing heights.
    """
    figure = _Figure(outfit, body, yaw, pitch, phase, arm_offset)
    # The person's left is the far side when walking to the right.
    far, near = ("left", "right") if np.cos(yaw) >= 0 else ("right", "left")
    frontal, away = abs(np.sin(yaw)) > 0.75, np.sin(yaw) < -0.25
    shade = 0.9 if frontal else 0.74
    parts: list[Part] = []
    if not frontal:
        parts += figure.arm(far, shade)
    parts += figure.leg(far, shade) + figure.leg(near, 1.0)
    if outfit.bag == "backpack" and not away:
        parts += figure.backpack()
    if outfit.bag == "shoulder" and far == "right":
        parts += figure.shoulder_bag()
    if frontal and not away:
        parts += figure.trunk() + figure.arm(far, 0.95) + figure.arm(near, 0.95)
    elif frontal:
        parts += figure.arm(far, 0.95) + figure.arm(near, 0.95) + figure.trunk()
    else:
        parts += figure.trunk()
    if outfit.bag == "backpack" and away:
        parts += figure.backpack()
    if outfit.bag == "shoulder" and far != "right":
        parts += figure.shoulder_bag()
    parts += figure.head()
    if not frontal:
        parts += figure.arm(near, 1.0)
    return tuple(parts)


def place(parts: tuple[Part, ...], scale: np.ndarray, feet: np.ndarray) -> list[Part]:
    """Move parts onto the canvas: `scale` `[T]` in pixels per standing height, `feet` `[T, 2]` in pixels → fixed-point int32."""
    factor = float(1 << SHIFT)
    return [
        (((corners * scale[:, None, None] + feet[:, None]) * factor).round().astype(np.int32), colour)
        for corners, colour in parts
    ]


def paint(image: np.ndarray, parts: list[Part], frame: int) -> None:
    """Paint frame number `frame` of placed parts over `image`, in place."""
    for corners, colour in parts:
        cv2.fillConvexPoly(image, corners[frame], colour, cv2.LINE_AA, SHIFT)
