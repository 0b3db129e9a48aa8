"""Cameras: viewpoint, background, light, colour cast and noise."""

import dataclasses
import functools

import cv2
import numpy as np

CANVAS = (256, 128)  # (height, width) of the drawing, which is then reduced, so that all sizes show the same
MARGIN = 24  # rows of the panorama above and below the canvas, for shaking boxes
_PANORAMA = 1024
_CAMERA = 101  # number of the cameras' random generators


@dataclasses.dataclass(frozen=True, eq=False)
class Camera:
    """One camera; angles in radians, `panorama` uint8 `[256 + 2 MARGIN, W, 3]` RGB repeating every W - 128 columns."""

    yaw: float  # of somebody walking to the right: 0 is a side view, π/2 frontal
    pitch: float
    panorama: np.ndarray
    ground: np.ndarray  # colour below the feet, for shadows
    tone: np.ndarray  # [256, 1, 3] look-up table: light, contrast and colour cast
    noise: np.ndarray  # int16, larger than a frame: a random window of it is a frame's noise
    blur: float


_VIEWS = (0.0, 0.55, -0.45, 0.2, -0.8, 1.05)


@functools.lru_cache(maxsize=64)
def make_camera(seed: int, camid: int, height: int, width: int) -> Camera:
    """Return camera `camid` (from 1) for frames of the given size."""
    rng = np.random.default_rng([seed, _CAMERA, camid])
    yaw = _VIEWS[(camid - 1) % len(_VIEWS)] + rng.uniform(-0.08, 0.08)
    pitch = rng.uniform(0.08, 0.24)
    panorama, ground = _panorama(rng)
    gamma = np.exp(rng.uniform(-0.18, 0.18))
    cast = np.exp(rng.uniform(-0.08, 0.08, 3))
    gain, lift = rng.uniform(0.84, 1.1), rng.uniform(0.0, 14.0)
    level = np.arange(256) / 255.0
    tone = lift + (255.0 - lift) * gain * cast[None] * (level[:, None] ** gamma)
    noise = rng.normal(0.0, rng.uniform(1.5, 5.0), (2 * height, 2 * width, 3)).round().astype(np.int16)
    return Camera(
        yaw=float(yaw),
        pitch=float(pitch),
        panorama=panorama,
        ground=ground,
        tone=np.clip(tone, 0, 255).round().astype(np.uint8)[:, None],
        noise=noise,
        blur=float(rng.choice([0.0, 0.0, 0.9])),
    )


def _panorama(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a street: ground with slabs, and behind it walls, windows, hedges and posts."""
    height, width = CANVAS[0] + 2 * MARGIN, CANVAS[1]
    horizon = int(rng.uniform(0.3, 0.55) * height)
    ground = rng.uniform(90, 180) + rng.uniform(-18, 18, 3)
    wall = rng.uniform(80, 205) + rng.uniform(-40, 40, 3)
    image = np.empty((height, _PANORAMA, 3), np.float32)
    image[:horizon] = wall
    shade = np.linspace(0.82, 1.08, height - horizon)[:, None, None]
    image[horizon:] = ground * shade
    for k in range(1, 9):  # slabs get wider towards the camera
        y = horizon + int((height - horizon) * (k / 9) ** 1.6)
        cv2.line(image, (0, y), (_PANORAMA, y), (ground * 0.8).tolist(), 1)
    spacing = int(rng.integers(40, 90))
    slant = int(rng.integers(-40, 40))
    for x in range(-100, _PANORAMA + 100, spacing):
        cv2.line(image, (x, horizon), (x + slant, height), (ground * 0.82).tolist(), 1)
    x = 0
    while x < _PANORAMA:
        kind = rng.choice(["window", "door", "hedge", "post", "panel", "gap"])
        w = int(rng.integers(20, 110))
        colour = (rng.uniform(30, 220) + rng.uniform(-35, 35, 3)).clip(0, 255)
        if kind == "window":
            cv2.rectangle(image, (x, horizon // 6), (x + w, int(horizon * 0.7)), (0.45 * colour).tolist(), -1)
            cv2.rectangle(image, (x, horizon // 6), (x + w, int(horizon * 0.7)), (0.8 * wall).tolist(), 3)
        elif kind == "door":
            cv2.rectangle(image, (x, horizon // 5), (x + w // 2 + 20, horizon), colour.tolist(), -1)
        elif kind == "hedge":
            for _ in range(w // 2):
                centre = (int(x + rng.integers(w + 1)), int(horizon - rng.integers(0, 36)))
                green = np.array([50, 95, 45]) * rng.uniform(0.6, 1.4)
                cv2.circle(image, centre, int(rng.integers(6, 14)), green.tolist(), -1)
        elif kind == "post":
            cv2.rectangle(image, (x, 0), (x + int(rng.integers(4, 12)), horizon + 12), (0.6 * colour).tolist(), -1)
        elif kind == "panel":
            cv2.rectangle(image, (x, 0), (x + w, horizon), (0.5 * wall + 0.5 * colour).tolist(), -1)
        x += w + int(rng.integers(5, 45))
    grain = cv2.resize(rng.normal(0, 7, (height // 4, _PANORAMA // 4)).astype(np.float32), (_PANORAMA, height))
    image = cv2.GaussianBlur(image + grain[..., None], (0, 0), 1.6)  # out of focus, unlike the person
    image = image.clip(0, 255).astype(np.uint8)
    return np.concatenate([image, image[:, :width]], axis=1), ground
