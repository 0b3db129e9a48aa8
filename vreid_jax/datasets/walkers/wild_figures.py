"""A dressed person of walkers/wild as shapes, the farthest first."""

import numpy as np

from vreid_jax.datasets.walkers.wild_canvas import Painting, dim
from vreid_jax.datasets.walkers.wild_carried import behind, in_front, wear_bag
from vreid_jax.datasets.walkers.wild_head import draw_head, draw_shawl
from vreid_jax.datasets.walkers.wild_people import Build, Colour, Outfit
from vreid_jax.datasets.walkers.wild_poses import Pose, View, skeleton


def _mixed(first: Colour, second: Colour) -> Colour:
    r, g, b = (0.6 * x + 0.4 * y for x, y in zip(first, second, strict=True))
    return r, g, b


class Figure:
    """Projected joints of one person during T frames, and the painting that its parts go to."""

    def __init__(self, build: Build, outfit: Outfit, pose: Pose, view: View, painting: Painting):
        """Project the joints and measure the trunk; the parts are painted by the methods."""
        self.build, self.outfit, self.view, self.on = build, outfit, view, painting
        self.joints = skeleton(build, pose)
        places, scales = view.project(np.stack(list(self.joints.values())))
        self.at = dict(zip(self.joints, places, strict=True))
        self.scale = dict(zip(self.joints, scales, strict=True))
        self.cos, self.sin = np.cos(view.yaw), np.sin(view.yaw)
        self.head_yaw = view.yaw + pose.head_turn
        # Half depth and half width of the trunk at levels from the collar (0) to the hips (1).
        girth, loose = build.girth, outfit.loose
        shoulder, pelvis = build.shoulder + 0.012 + loose, build.pelvis + 0.036 * girth + loose
        chest, waist = 0.88 * shoulder + 0.008, 0.62 * shoulder + 0.34 * pelvis
        self.levels = np.array([-0.08, 0.0, 0.07, 0.17, 0.45, 0.72, 1.0])
        wide = np.array([0.036, 0.5 * shoulder, 0.8 * shoulder, shoulder, chest, waist * girth**0.5, pelvis])
        deep = np.array([0.04, 0.045, 0.055, 0.06, 0.066, 0.062, 0.068]) * girth + loose
        deep = deep + build.belly * np.array([0, 0, 0, 0, 0.5, 1.0, 0.6])
        size = np.interp(self.levels, [0, 1], [1, 1])[:, None] * (self.scale["collar"] + self.scale["pelvis"]) / 2
        self.half = np.hypot(wide[:, None] * self.sin, deep[:, None] * self.cos) * size
        self.centre = self.at["collar"] + self.levels[:, None, None] * (self.at["pelvis"] - self.at["collar"])

    def across(self, level: float, u) -> np.ndarray:
        """Return the point `[T, 2]` at `u` from the left edge (-1) to the right (1) of the trunk at a level."""
        place = float(np.clip(np.searchsorted(self.levels, level) - 1, 0, len(self.levels) - 2))
        low = int(place)
        mix = (level - self.levels[low]) / (self.levels[low + 1] - self.levels[low])
        half = (1 - mix) * self.half[low] + mix * self.half[low + 1]
        point = self.at["collar"] + level * (self.at["pelvis"] - self.at["collar"])
        return point + np.stack([u * half, np.zeros_like(half)], -1)

    def turned(self, angle: float, half: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the edges `u` `[T]` of a vertical strip `half` to both sides of `angle` from the front; equal if unseen."""
        middle = (self.view.yaw + angle + np.pi / 2) % (2 * np.pi) - np.pi / 2
        return np.cos(np.clip(middle + half, 0, np.pi)), np.cos(np.clip(middle - half, 0, np.pi))

    def strip(self, angle: float, half: float, top: float, bottom: float, colour: Colour, narrow: float = 1.0) -> None:
        """Paint a part of the trunk's surface; `narrow` is the width at the bottom compared with the top."""
        left, right = self.turned(angle, half)
        middle, low = (left + right) / 2, narrow * (right - left) / 2
        self.on.patch(
            np.stack(
                [self.across(top, left), self.across(top, right), self.across(bottom, middle + low),
                 self.across(bottom, middle - low)], 1,
            ), colour,
        )  # fmt: skip

    def leg(self, side: str, light: float) -> None:
        """Paint a leg with its shoe."""
        at, o, s, on = self.at, self.outfit, self.scale, self.on
        girth = self.build.girth * o.leg_width
        hip, knee, ankle = (at[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
        size = s[f"{side}_knee"]
        bare = o.legs_kind in ("shorts", "skirt") or (o.skirt > 0 and o.legs_kind not in ("tights", "denim"))
        skin, cloth, shoes = dim(o.skin, light), dim(o.legs, light), dim(o.shoes, light)
        on.limb(at[f"{side}_heel"], at[f"{side}_toe"], 0.026 * size, 0.019 * size, shoes)
        slim = bare or o.legs_kind == "tights"
        calf = 0.028 * self.build.girth if slim else 0.031 * girth
        on.limb(knee, ankle, 1.18 * calf * size, (0.7 if slim else 0.95) * calf * size, skin if bare else cloth)
        if o.boots:
            top = ankle + o.boots * (knee - ankle)
            on.limb(top, ankle, 1.12 * calf * size, 0.95 * calf * size, shoes)
        thigh = 0.05 * (girth if not slim else self.build.girth)
        if bare:
            on.limb(hip, knee, thigh * 0.95 * size, 0.038 * girth * size, skin)
            if o.legs_kind == "shorts":
                on.limb(hip, hip + 0.85 * (knee - hip), thigh * size, 0.05 * girth * size, cloth)
        else:
            on.limb(hip, knee, thigh * size, 1.12 * calf * size, cloth)
        if o.legs_kind == "denim":  # worn pale in front of the thigh and at the knee
            ahead = np.stack([0.012 * self.cos, np.zeros_like(size)], -1)
            on.limb(
                hip + 0.35 * (knee - hip) + ahead,
                hip + 0.8 * (knee - hip) + ahead,
                0.02 * size,
                0.016 * size,
                dim(cloth, 1.22),
                False,
            )
            on.limb(
                knee + 0.3 * (ankle - knee),
                knee + 0.75 * (ankle - knee),
                0.014 * size,
                0.012 * size,
                dim(cloth, 1.12),
                False,
            )

    def arm(self, side: str, light: float) -> None:
        """Paint an arm with its hand, and the shadow between it and the trunk."""
        at, o, s, on = self.at, self.outfit, self.scale, self.on
        shoulder, elbow, hand = (at[f"{side}_{name}"] for name in ("shoulder", "elbow", "hand"))
        size, girth = s[f"{side}_elbow"], 0.5 + 0.5 * self.build.girth
        colour = dim(o.second if o.pattern == "sleeves" else o.top, light)
        skin = dim(o.skin, light)
        if o.top_kind == "vest" and o.sleeve:
            colour = dim(o.second, light)
        upper, lower = (0.031 * girth + 0.7 * o.loose), (0.025 * girth + 0.6 * o.loose)
        edge = dim(o.top, light * (self.on.dark - 0.08))
        away = np.array([0.005 * self.on.light, 0.002])
        on.limb(shoulder + away, elbow + away, (upper + 0.002) * size, (lower + 0.002) * size, edge, False)
        tip = hand + 0.12 * (hand - elbow)
        on.limb(hand, tip, 0.02 * size, 0.017 * size, skin)
        if o.sleeve < 2:
            on.limb(elbow, hand, 0.024 * girth * size, 0.018 * size, skin)
            on.limb(shoulder, elbow, 0.029 * girth * size, 0.025 * girth * size, skin)
            if o.sleeve:
                end = shoulder + min(o.sleeve, 1.0) * (elbow - shoulder)
                on.limb(shoulder, end, upper * size, 0.95 * upper * size, colour)
        else:
            on.limb(elbow, hand, 0.95 * lower * size, 0.82 * lower * size, colour)
            on.limb(shoulder, elbow, upper * size, lower * size, colour)
            if o.pattern == "stripes":
                for t in (0.25, 0.55, 0.85):
                    a = shoulder + t * (elbow - shoulder)
                    on.limb(
                        a,
                        a + 0.1 * (elbow - shoulder),
                        0.9 * upper * size,
                        0.9 * upper * size,
                        dim(o.second, light),
                        False,
                    )

    def trunk(self) -> None:
        """Paint the upper garment with its pattern, and a skirt or coat below it."""
        o = self.outfit
        self._hem()
        self.on.outline(self.centre, self.half, o.top)
        self._pattern()
        if o.opening:
            self.strip(0.0, o.opening, 0.0, 1.0, o.second, narrow=1.0 if o.top_kind != "suit" else 0.1)
        elif o.top_kind in ("jacket", "puffer", "hoodie", "suit"):
            self.strip(0.0, 0.07, 0.02, 1.0, dim(o.top, 0.6))
            self.strip(
                0.0, 0.3, -0.06, 0.12, dim(o.skin, 0.8) if o.top_kind != "hoodie" else dim(o.top, 0.7), narrow=0.1
            )
        else:
            self.strip(0.0, 0.5, -0.07, 0.05, dim(o.skin, 0.85), narrow=0.2)
        if o.top_kind == "puffer":
            for level in (0.25, 0.42, 0.6, 0.78, 0.95):
                self._band(level, level + 0.035, dim(o.top, 0.68))
        if o.top_kind in ("jacket", "shirt", "hoodie") and o.hem < 0.4:
            self._band(0.96, 1.0, dim(o.top, 0.7))
        if o.top_kind == "hoodie" and o.hat != "hood":
            self.strip(np.pi, 0.9, -0.06, 0.16, dim(o.top, 0.8), narrow=0.4)

    def _band(self, top: float, bottom: float, colour: Colour, left: float = -1.0, right: float = 1.0) -> None:
        corners = [
            self.across(top, left),
            self.across(top, right),
            self.across(bottom, right),
            self.across(bottom, left),
        ]
        self.on.patch(np.stack(corners, 1), colour)

    def _hem(self) -> None:
        """Paint what hangs below the hips: the hem of a shirt or coat, a skirt or a dress."""
        o = self.outfit
        skirt_colour = o.top if o.top_kind == "dress" else o.legs
        for reach, colour, flare in (
            (o.skirt, skirt_colour, o.flare),
            (o.hem if o.top_kind != "dress" else 0.0, o.top, 0.012),
        ):
            if not reach:
                continue
            centre, half = [self.centre[-2]], [self.half[-2] * 0.98]
            for t in (0.0, 0.5, 1.0):
                ends = [self._down_the_leg(side, t * reach) for side in ("left", "right")]
                middle = (ends[0] + ends[1]) / 2
                spread = np.abs(ends[0] - ends[1])[:, 0] / 2
                middle[:, 1] = np.maximum(middle[:, 1], centre[-1][:, 1] + 1e-3)
                thick = (0.062 * self.build.girth + 0.5 * o.loose + t * flare) * self.scale["left_knee"]
                centre.append(middle)
                half.append(np.maximum(spread + thick, self.half[-1] * (1 - 0.1 * t)))
            self.on.outline(np.stack(centre), np.stack(half), colour)

    def _down_the_leg(self, side: str, reach: float) -> np.ndarray:
        hip, knee, ankle = (self.at[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
        return hip + reach * (knee - hip) if reach <= 1 else knee + (reach - 1) * (ankle - knee)

    def _pattern(self) -> None:
        o = self.outfit
        if o.pattern == "stripes":
            for level in (0.12, 0.3, 0.48, 0.66, 0.84):
                self._band(level, level + 0.09, o.second)
        elif o.pattern in ("pinstripes", "checks"):
            mixed = _mixed(o.top, o.second)
            for angle in np.arange(-2.8, 3.1, 0.56):
                self.strip(float(angle), 0.1, 0.06, 1.0, mixed)
            if o.pattern == "checks":
                for level in (0.14, 0.34, 0.54, 0.74, 0.94):
                    self._band(level, level + 0.06, o.second if level in (0.34, 0.74) else mixed)
        elif o.pattern in ("print", "logo"):
            for i, (angle, level, half, height) in enumerate(o.marks):
                colour = o.second if i % 2 == 0 else dim(o.second, 0.6)
                self.strip(angle, half, level - height, level + height, colour)
        elif o.pattern == "yoke":
            self._band(0.02, 0.1, o.second, -0.95, 0.95)
            self._band(0.1, 0.3, o.second)
        elif o.pattern == "block":
            self._band(0.5, 1.0, o.second)
        elif o.pattern == "panel":
            self.strip(np.pi / 2, 0.5, 0.1, 1.0, o.second)
            self.strip(-np.pi / 2, 0.5, 0.1, 1.0, o.second)


def draw_person(build: Build, outfit: Outfit, pose: Pose, view: View, painting: Painting, cast: float) -> np.ndarray:
    """Put a person into a painting; return its points `[J, T, 2]`, of which the box is made.

    Args:
      build: proportions.
      outfit: clothes.
      pose: what the limbs do.
      view: where the camera stands.
      painting: takes the shapes.
      cast: how dark the shadow on the ground is, 0 … 1.
    """
    figure = Figure(build, outfit, pose, view, painting)
    at = figure.at
    feet = (at["left_ankle"] + at["right_ankle"]) / 2
    flat = np.array([0.16, 0.0])
    painting.shadow(feet - flat * 0.5, feet + flat * (0.5 + cast), 0.045, 0.03, 150 * cast)
    for side in ("left", "right"):
        painting.shadow(at[f"{side}_heel"], at[f"{side}_toe"], 0.035, 0.028, 120.0 * min(1.0, 0.4 + cast))
    yaw = float(np.mean(np.unwrap(view.yaw)))
    towards, aside = np.sin(yaw), np.cos(yaw)
    near, far = ("right", "left") if aside > 0 else ("left", "right")
    side_on = abs(aside) > 0.5
    behind(figure, towards)
    first = [side for side in ("left", "right") if _ahead(figure, side, yaw) < -0.045 or (side_on and side == far)]
    for side in first:
        figure.arm(side, 0.82 if side_on else 0.92)
    if towards > 0.2:
        wear_bag(figure, first=True)
    low = far if side_on or _ahead(figure, near, yaw, "ankle") > _ahead(figure, far, yaw, "ankle") else near
    figure.leg(low, 0.8 if side_on else 0.94)
    figure.leg(near if low == far else far, 1.0)
    if towards >= -0.1:
        draw_head(figure, back=True)
    figure.trunk()
    draw_shawl(figure)
    if towards <= 0.2:
        wear_bag(figure, first=False)
    draw_head(figure, back=False)
    for side in ("left", "right"):
        if side not in first:
            figure.arm(side, 1.0)
    in_front(figure, towards)
    return np.stack(list(at.values()))


def _ahead(figure: Figure, side: str, yaw: float, joint: str = "hand") -> float:
    """Return how much nearer to the camera a joint is than the pelvis, on average."""
    point = figure.joints[f"{side}_{joint}"].mean(0)
    return float(point[0] * np.sin(yaw) - point[1] * np.cos(yaw))
