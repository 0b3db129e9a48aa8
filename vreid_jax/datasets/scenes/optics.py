"""The cameras of a scene: where each hangs, what it sees of the street, its light, colours and noise."""

import dataclasses

import cv2
import numpy as np

from vreid_jax.datasets.scenes import street
from vreid_jax.datasets.scenes.plan import KERB, WALL, SceneSettings, areas

_CAMERA, _LIGHT = 311, 312  # numbers of random generators
_ANGLE = 0.96  # a picture's width over its distance, in the plane of focus


@dataclasses.dataclass(frozen=True, eq=False)
class SceneCamera:
    """A pinhole camera on a wall; x, y on the ground and z upwards, metres.

    Attributes:
      place: `[3]` where it hangs.
      axes: `[3, 3]` rows: right, down and forwards in its picture.
      focal: pixels.
      size: height and width of its picture, pixels.
      tone: `[256, 1, 3]` uint8, what it makes of each level of red, green and blue.
      mix: `[3, 3]` how far colours turn grey.
      noise: int16, larger than a picture: a random window of it is a picture's noise.
      blur: of the lens, pixels.
      light: where the light comes from, left (-1) to right (1).
    """

    place: np.ndarray
    axes: np.ndarray
    focal: float
    size: tuple[int, int]
    tone: np.ndarray
    mix: np.ndarray
    noise: np.ndarray
    blur: float
    light: float

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where points `[N, 3]` are in the picture, `[N, 2]` pixels, and their depths `[N]` in metres."""
        seen = (points - self.place) @ self.axes.T
        depth = np.maximum(seen[:, 2], 0.1)
        height, width = self.size
        return seen[:, :2] * (self.focal / depth)[:, None] + np.array([width, height]) / 2, seen[:, 2]

    def backdrop(self, seed: int) -> np.ndarray:
        """Return the empty street as this camera sees it, uint8 `[H, W, 3]` RGB."""
        height, width = self.size
        v, u = np.mgrid[0:height, 0:width].astype(np.float64)
        pixels = np.stack([u + 0.5 - width / 2, v + 0.5 - height / 2, np.full_like(u, self.focal)], -1)
        rays = pixels @ self.axes
        with np.errstate(divide="ignore", invalid="ignore"):
            down = np.where(rays[..., 2] < -1e-9, -self.place[2] / rays[..., 2], np.inf)
            across = np.where(
                np.abs(rays[..., 1]) > 1e-9, (np.sign(rays[..., 1]) * WALL - self.place[1]) / rays[..., 1], np.inf
            )
        across = np.where(across > 1e-6, across, np.inf)
        reach = np.minimum(np.minimum(down, across), 200.0)
        hit = self.place + reach[..., None] * rays
        ground, front = street.textures(seed)
        floor = street.look_up(ground, hit[..., 0], hit[..., 1] + WALL)
        wall = street.look_up(front, hit[..., 0] + 37.0 * (hit[..., 1] > 0), street.STOREY - hit[..., 2])
        return np.where((down <= across)[..., None], floor, wall)


def make_camera(settings: SceneSettings, camid: int) -> SceneCamera:
    """Return camera `camid` (from 1); a pure function of the arguments."""
    rng = np.random.default_rng([settings.seed, _CAMERA, camid])
    sun = np.random.default_rng([settings.seed, _LIGHT]).uniform(0, 2 * np.pi)
    side = -1.0 if camid % 2 else 1.0
    turn = rng.uniform(-0.24, 0.24)
    aim = np.array([areas(settings)[camid - 1], side * 0.2 * KERB, 1.0])
    reach = WALL - 0.5 + 0.2 * KERB
    place = aim + np.array([reach * np.tan(turn), side * reach, rng.uniform(2.2, 3.6)])
    place[1] = side * (WALL - 0.5)
    forwards = (aim - place) / np.linalg.norm(aim - place)
    right = np.cross(forwards, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(forwards, right), forwards])
    height, width = settings.height, settings.width
    sunny = np.array([np.cos(sun), np.sin(sun)])
    return SceneCamera(
        place=place,
        axes=axes,
        focal=max(width, height * 16 / 9) / (_ANGLE * np.exp(rng.uniform(-0.08, 0.08))),
        size=(height, width),
        tone=_tone(rng),
        mix=_mix(float(rng.uniform(0.55, 1.0))),
        noise=rng.normal(0, rng.uniform(0.5, 1.2), (2 * height, 2 * width, 1)).round().astype(np.int16).repeat(3, 2),
        blur=float(rng.choice([0.0, 0.6, 0.9])),
        light=float(right[:2] @ sunny),
    )


def _tone(rng: np.random.Generator) -> np.ndarray:
    """Draw exposure, contrast and white balance."""
    level = np.arange(256)[:, None] / 255.0
    warm = rng.normal(0.0, 0.06) * np.array([1.0, 0.0, -1.0]) + rng.normal(0.0, 0.02) * np.array([-0.5, 1.0, -0.5])
    black = rng.uniform(0, 20)
    tone = black + (255 - black) * np.exp(rng.uniform(-0.2, 0.1)) * np.exp(warm) * level ** np.exp(
        rng.uniform(-0.25, 0.25)
    )
    return np.clip(tone, 0, 255).round().astype(np.uint8)[:, None]


def _mix(saturation: float) -> np.ndarray:
    grey = np.array([0.299, 0.587, 0.114])[None]
    return ((1 - saturation) * grey + saturation * np.eye(3)).astype(np.float32)


def develop(camera: SceneCamera, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what a camera records of a picture, uint8 `[H, W, 3]` RGB."""
    image = cv2.LUT(cv2.transform(image, camera.mix), camera.tone)
    if camera.blur:
        image = cv2.GaussianBlur(image, (3, 3), camera.blur)
    height, width = camera.size
    y, x = rng.integers(0, (height, width))
    return cv2.add(image, camera.noise[y : y + height, x : x + width], dtype=cv2.CV_8U)
