"""Painting with transparency: limbs, patches and outlines collected for T frames, then filled one frame at a time."""

import cv2
import numpy as np

from vreid_jax.datasets.walkers.wild_people import Colour

SHIFT = 4  # fractional bits of corners
_ARC = np.linspace(np.pi / 2, 3 * np.pi / 2, 5)
_COS, _SIN = np.cos(_ARC), np.sin(_ARC)
_INNER, _LIFT = 0.6, 0.12  # size of the lit part of a limb, and how far it lies towards the sky


def dim(colour: Colour, factor: float) -> Colour:
    """Return a darker (or lighter) colour."""
    r, g, b = (min(255.0, float(factor) * c) for c in colour)
    return r, g, b


def _each(radius: np.ndarray | float, length: int) -> np.ndarray:
    """Return one radius for each frame."""
    return radius if isinstance(radius, np.ndarray) else np.full(length, radius)


class Painting:
    """Shapes of one figure in the order in which they are painted; positions in standing heights, `[T, 2]`."""

    def __init__(self, light: float, contrast: float):
        """Light falls from the left (-1) to the right (1); `contrast` is by how much the far side is darker."""
        self.light, self.dark = light, 1.0 - contrast
        self._limbs: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        self._order: list[tuple[np.ndarray | None, tuple[float, ...]]] = []

    def limb(self, start, end, start_radius, end_radius, colour: Colour, round_: bool = True) -> None:
        """Add a limb with round ends; `round_` shades it like a cylinder."""
        start_radius, end_radius = _each(start_radius, len(start)), _each(end_radius, len(start))
        if not round_:
            self._flat(start, end, start_radius, end_radius, (*colour, 255.0))
            return
        self._flat(start, end, start_radius, end_radius, self._shaded(colour, self.dark))
        aside = np.array([-self.light * (1 - _INNER) * 0.9, -_LIFT])
        self._flat(
            start + aside * start_radius[:, None], end + aside * end_radius[:, None],
            _INNER * start_radius, _INNER * end_radius, self._shaded(colour, 1.0),
        )  # fmt: skip

    def ellipse(self, centre, half_width, half_height, colour: Colour, round_: bool = True) -> None:
        """Add an upright or lying ellipse, drawn as a limb."""
        half_width, half_height = _each(half_width, len(centre)), _each(half_height, len(centre))
        radius = np.minimum(half_width, half_height)
        reach = np.stack([half_width - radius, half_height - radius], -1)
        self.limb(centre - reach, centre + reach, radius, radius, colour, round_)

    def patch(self, corners: np.ndarray, colour: Colour, opacity: float = 255.0) -> None:
        """Add a flat polygon `[T, K, 2]` that every row crosses at most twice."""
        self._order.append((corners, (*(c * opacity / 255.0 for c in colour), opacity)))

    def shadow(self, start, end, start_radius, end_radius, opacity: float) -> None:
        """Add what darkens the background only; it must come first."""
        self._flat(start, end, _each(start_radius, len(start)), _each(end_radius, len(start)), (0.0, 0.0, 0.0, opacity))

    def outline(self, centre: np.ndarray, half: np.ndarray, colour: Colour) -> None:
        """Add a shaded trunk: `centre` `[L, T, 2]` from top to bottom and half widths `[L, T]`."""
        for inset, level in ((0.0, self.dark), (0.22, 0.5 * (1 + self.dark)), (0.52, 1.0)):
            near, far = 1.0 - inset * (1 - self.light), 1.0 - inset * (1 + self.light)
            left, right = centre.copy(), centre.copy()
            left[..., 0] -= half * max(near, 0.08)
            right[..., 0] += half * max(far, 0.08)
            corners = np.concatenate([left, right[::-1]], 0).transpose(1, 0, 2)
            self._order.append((corners, self._shaded(colour, level)))

    def frames(self, scale: np.ndarray, offset: np.ndarray) -> list[tuple[np.ndarray, tuple[float, ...]]]:
        """Return the polygons in pixels, fixed-point `[T, K, 2]`, with their colours; `scale`, `offset` are `[T, 2]`."""
        start, end, start_radius, end_radius = (np.stack(x) for x in zip(*self._limbs, strict=True))
        along = end - start
        length = np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-6)
        c, s = (along[..., 0] / length)[..., None], (along[..., 1] / length)[..., None]
        x, y = c * _COS - s * _SIN, s * _COS + c * _SIN
        ring = np.stack([x, y], -1)
        corners = np.concatenate(
            [start[:, :, None] + start_radius[..., None, None] * ring,
             end[:, :, None] - end_radius[..., None, None] * ring], 2,
        )  # fmt: skip
        factor = float(1 << SHIFT)
        scale, offset = factor * scale[:, None], factor * offset[:, None]
        corners = np.rint(corners * scale + offset).astype(np.int32)
        limbs = iter(corners)
        return [
            (next(limbs) if shape is None else np.rint(shape * scale + offset).astype(np.int32, order="C"), colour)
            for shape, colour in self._order
        ]

    def _flat(self, start, end, start_radius, end_radius, colour: tuple[float, ...]) -> None:
        self._limbs.append((start, end, start_radius, end_radius))
        self._order.append((None, colour))

    @staticmethod
    def _shaded(colour: Colour, level: float) -> tuple[float, ...]:
        return colour[0] * level, colour[1] * level, colour[2] * level, 255.0


def paint(image: np.ndarray, polygons: list[tuple[np.ndarray, tuple[float, ...]]], frame: int) -> None:
    """Fill the polygons of one frame into `image`, uint8 `[H, W, 4]` with premultiplied alpha, in place."""
    for corners, colour in polygons:
        cv2.fillConvexPoly(image, corners[frame], colour, cv2.LINE_AA, SHIFT)
