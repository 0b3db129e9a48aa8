"""Heads of walkers/wild: face, hair, hats and scarves, from every side."""

import numpy as np

from vreid_jax.datasets.walkers.wild_canvas import dim


def draw_head(figure, back: bool) -> None:
    """Paint the head, or only the long hair that lies behind the trunk (`back`) when the person faces the camera.

    Args:
      figure: a `wild_figures.Figure`.
      back: whether to paint what comes before the trunk, rather than the head itself.
    """
    o, on = figure.outfit, figure.on
    r = figure.build.head * figure.scale["head"]
    head, neck = figure.at["head"], figure.at["neck"]
    aside, towards = np.cos(figure.head_yaw), np.sin(figure.head_yaw)
    wide = r * (0.67 + 0.13 * np.abs(aside))

    def move(right, down) -> np.ndarray:
        return head + np.stack([right * r, down * r], -1)

    covered = o.hat in ("hood", "scarf")
    hair = o.hat_colour if covered else o.hair
    away = float(np.mean(towards)) < -0.1
    if back:
        if o.hairstyle in ("long", "bob") and not covered:
            on.limb(
                head,
                move(-0.35 * aside, 1.9 if o.hairstyle == "long" else 1.15),
                0.86 * wide,
                0.62 * wide,
                dim(hair, 0.8),
            )
        return
    on.limb(
        figure.at["collar"], neck + 0.3 * (head - neck), 0.03, 0.028, dim(o.hat_colour if covered else o.skin, 0.78)
    )
    bald = o.hairstyle == "bald" and not covered
    top = dim(o.skin, 0.95) if bald else hair
    grow = {"afro": 1.3, "crop": 0.98, "short": 1.03}.get(o.hairstyle, 1.07)
    grow = 1.16 if covered else grow
    on.ellipse(move(-0.12 * aside, -0.06), wide * grow, r * (1.0 + 0.5 * (grow - 1)), top)
    tilt = 0.25 * np.sin(figure.view.pitch)
    seen = np.clip(0.35 + 0.65 * towards, 0.0, 1.0)
    if float(np.max(seen)) > 0.12:
        face = move((0.36 + 0.1 * seen) * aside, 0.2 + tilt + 0.08 * (o.hairstyle != "crop"))
        width = wide * (0.34 + 0.4 * seen) * (seen > 0.1) + 1e-4
        height = r * (0.66 if covered else 0.74)
        on.ellipse(face, width, np.maximum(height, width), o.skin)
        if o.beard:
            on.ellipse(face + np.stack([0.0 * r, 0.5 * r], -1), 0.85 * width, 0.26 * r, dim(o.hair, 1.2), False)
        eyes = face + np.stack([0.25 * aside * r, -0.1 * r], -1)
        dark = (45.0, 40.0, 40.0) if o.glasses else dim(o.skin, 0.82)
        on.ellipse(eyes, 0.72 * width, (0.085 if o.glasses else 0.07) * r, dark, False)
        if not o.beard:
            on.ellipse(
                face + np.stack([0.2 * aside * r, 0.42 * r], -1), 0.35 * width, 0.05 * r, dim(o.skin, 0.86), False
            )
    if not covered and not bald:
        _hair(figure, move, wide, r, aside, away)
    _hat(figure, move, wide, r, aside)


def _hair(figure, move, wide, r, aside, away: bool) -> None:
    o, on = figure.outfit, figure.on
    if o.hairstyle in ("long", "bob", "tail", "bun") or (o.hairstyle == "short" and o.hat == "none"):
        on.ellipse(move(-0.1 * aside, -0.62), 0.84 * wide, 0.36 * r, o.hair)  # the fringe
    if o.hairstyle in ("long", "bob"):
        low = 1.95 if o.hairstyle == "long" else 1.0
        if away:
            on.limb(move(-0.2 * aside, 0.0), move(-0.3 * aside, low), wide, 0.75 * wide, o.hair)
        else:
            for sign in (-1.0, 1.0):
                side = sign * 0.74 * np.abs(np.sin(figure.head_yaw)) - 0.55 * aside
                on.limb(move(side, -0.2), move(side * 1.1, 0.6 * low), 0.24 * r, 0.22 * r, o.hair)
    elif o.hairstyle == "tail":
        on.limb(
            move(-0.95 * aside, 0.0), move(-1.05 * aside, 1.4), (0.26 if away else 0.2) * r, 0.16 * r, dim(o.hair, 0.9)
        )
    elif o.hairstyle == "bun":
        on.ellipse(move(-0.75 * aside, -0.85), 0.36 * r, 0.34 * r, o.hair)


def _hat(figure, move, wide, r, aside) -> None:
    o, on = figure.outfit, figure.on
    towards = np.sin(figure.head_yaw)
    if o.hat in ("cap", "beanie"):
        on.ellipse(move(-0.08 * aside, -0.5), 1.04 * wide, (0.55 if o.hat == "cap" else 0.66) * r, o.hat_colour)
        if o.hat == "cap":
            front = move(0.85 * aside, -0.3 + 0.15 * np.maximum(towards, 0))
            width = r * (0.25 + 0.42 * np.maximum(towards, 0) + 0.2 * np.abs(aside)) * (towards > -0.5) + 1e-4
            on.ellipse(front, width, 0.12 * r, dim(o.hat_colour, 0.75), False)
    elif o.hat == "brim":
        on.ellipse(move(0.0 * aside, -0.35), 1.75 * wide, 0.2 * r, dim(o.hat_colour, 0.85))
        on.ellipse(move(0.0 * aside, -0.75), 0.95 * wide, 0.5 * r, o.hat_colour)


def draw_shawl(figure) -> None:
    """Paint a scarf around the neck."""
    o, on = figure.outfit, figure.on
    if o.shawl == "none":
        return
    neck = figure.at["neck"]
    size = figure.scale["neck"]
    on.ellipse(neck + np.array([0.0, 0.012]), (0.058 + 0.008 * np.abs(figure.sin)) * size, 0.03 * size, o.shawl_colour)
    if o.bag_size > 1:  # one end hangs down in front
        left, right = figure.turned(0.25, 0.16)
        corners = [
            figure.across(0.02, left),
            figure.across(0.02, right),
            figure.across(0.5, right),
            figure.across(0.5, left),
        ]
        on.patch(np.stack(corners, 1), dim(o.shawl_colour, 0.9))
