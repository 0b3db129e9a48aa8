"""What the people of walkers/wild carry, wear over the shoulder and push."""

import numpy as np

from vreid_jax.datasets.walkers.wild_canvas import dim


def _box(centre: np.ndarray, half_width, half_height, flare: float = 0.12) -> np.ndarray:
    """Return an upright box `[T, 4, 2]`, wider below."""
    half_width, half_height = np.broadcast_to(half_width, len(centre)), np.broadcast_to(half_height, len(centre))
    x = np.stack([-half_width, half_width, (1 + flare) * half_width, -(1 + flare) * half_width], -1)
    y = np.stack([-half_height, -half_height, half_height, half_height], -1)
    return centre[:, None] + np.stack([x, y], -1)


def behind(figure, towards: float) -> None:
    """Paint a pram or trolley that is farther from the camera than the person."""
    if figure.outfit.bag == "pram" and towards < 0:
        _pram(figure)
    if figure.outfit.bag == "trolley" and towards > 0:
        _trolley(figure)


def in_front(figure, towards: float) -> None:
    """Paint what is in the hands, and a pram or trolley that is nearer than the person."""
    o, on = figure.outfit, figure.on
    size = o.bag_size
    if o.bag == "pram" and towards >= 0:
        _pram(figure)
    if o.bag == "trolley" and towards <= 0:
        _trolley(figure)
    if o.bag == "backpack":
        for angle in (-0.62, 0.62):
            figure.strip(angle, 0.1, 0.03, 0.5, dim(o.bag_colour, 0.85))
    if o.bag in ("hand", "both_hands"):
        for side in ("right", "left") if o.bag == "both_hands" else ("right",):
            hand, scale = figure.at[f"{side}_hand"], figure.scale[f"{side}_hand"]
            wide = (0.035 + 0.03 * np.abs(figure.cos)) * size * scale
            bag = hand + np.stack([0 * scale, (0.045 + 0.05 * size) * scale], -1)
            on.patch(_box(bag, wide, 0.055 * size * scale), dim(o.bag_colour, 0.82))
            on.patch(_box(bag, 0.6 * wide, 0.04 * size * scale), o.bag_colour)
    elif o.bag == "umbrella":
        hand = figure.at["right_hand"]
        along = np.stack([0.08 * figure.cos, np.full(len(hand), 0.24)], -1)
        on.limb(hand - 0.2 * along, hand + along, 0.014, 0.006, o.bag_colour)
    elif o.bag == "paper":
        hand = figure.at["right_hand"] + np.array([0.0, -0.01])
        on.patch(_box(hand, 0.02 + 0.03 * size * np.abs(figure.cos), 0.032 * size, 0.0), (232.0, 232.0, 228.0))


def wear_bag(figure, first: bool) -> None:
    """Paint a backpack or shoulder bag; `first` is before the trunk, when it faces the camera."""
    o, on = figure.outfit, figure.on
    if o.bag == "backpack":
        nape, pelvis = figure.at["nape"], figure.at["pelvis"]
        down = pelvis - figure.at["collar"]
        back = np.stack([-0.035 * figure.cos, np.zeros(len(nape))], -1)
        wide = (0.045 + 0.045 * np.abs(figure.sin)) * o.bag_size * figure.scale["nape"]
        top, low = nape + 0.22 * down + back, nape + (0.45 + 0.25 * o.bag_size) * down + back
        on.limb(top, low, wide * 0.85, wide, o.bag_colour)
        if not first:
            pocket = nape + 0.62 * down + back
            on.ellipse(pocket, 0.7 * wide, 0.4 * wide, dim(o.bag_colour, 0.7), False)
    elif o.bag == "shoulder":
        side = "right" if o.bag_size > 1 else "left"
        other = "left" if side == "right" else "right"
        hip = figure.at[f"{side}_hip"] + np.array([0.0, -0.02])
        start = figure.at[f"{other}_shoulder"] if o.flare > 0.03 else figure.at[f"{side}_shoulder"]
        if not first:
            on.limb(start, hip, 0.008, 0.008, dim(o.bag_colour, 0.8), False)
        wide = (0.035 + 0.04 * np.abs(figure.cos)) * o.bag_size
        on.patch(_box(hip, wide, 0.055 * o.bag_size), o.bag_colour)
        on.patch(_box(hip - np.array([0.0, 0.02]), 0.9 * wide, 0.025 * o.bag_size), dim(o.bag_colour, 0.75))


def _ahead(figure, points: list[tuple[float, float, float]]) -> list[np.ndarray]:
    """Project fixed points (forward, left, up) of things on the ground → one `[T, 2]` each."""
    length = len(figure.view.yaw)
    spread = np.broadcast_to(np.array(points)[:, None], (len(points), length, 3))
    return list(figure.view.project(spread)[0])


def _pram(figure) -> None:
    o, on = figure.outfit, figure.on
    hand = (figure.at["left_hand"] + figure.at["right_hand"]) / 2
    seat, hood, front, *wheels = _ahead(
        figure, [(0.46, 0.0, 0.3), (0.40, 0.0, 0.43), (0.62, 0.0, 0.34), (0.36, 0.11, 0.06), (0.36, -0.11, 0.06), (0.62, 0.1, 0.06), (0.62, -0.1, 0.06)]
    )  # fmt: skip
    for wheel in wheels:
        on.ellipse(wheel, 0.02 + 0.035 * np.abs(figure.cos), 0.055, (30.0, 30.0, 32.0))
        on.limb(wheel, seat, 0.008, 0.008, (90.0, 90.0, 92.0), False)
    on.limb(hand, hood, 0.008, 0.008, (60.0, 60.0, 62.0), False)
    wide = 0.085 + 0.01 * np.abs(figure.sin)
    on.limb(seat, front, wide, 0.7 * wide, dim(o.bag_colour, 0.75))
    on.ellipse(hood, wide, 0.1, o.bag_colour)


def _trolley(figure) -> None:
    o, on = figure.outfit, figure.on
    hand = figure.at["right_hand"]
    case, *_ = _ahead(figure, [(-0.3, -0.16, 0.17)])
    on.limb(hand, case - np.array([0.0, 0.1]), 0.006, 0.006, (70.0, 70.0, 72.0), False)
    wide = 0.05 + 0.035 * np.abs(figure.sin)
    on.patch(_box(case, wide * o.bag_size, 0.12 * o.bag_size, 0.0), dim(o.bag_colour, 0.8))
    on.patch(_box(case, 0.7 * wide * o.bag_size, 0.1 * o.bag_size, 0.0), o.bag_colour)
