"""The cameras of walkers/wild: where they hang, their colours, sharpness, noise and compression."""

import dataclasses
import functools

import cv2
import numpy as np

COUNT = 300  # of virtual cameras
_NOISE = 160  # rows and columns of a camera's noise; pictures are not larger
_CAMERA = 223  # number of the cameras' random generators


@dataclasses.dataclass(frozen=True, eq=False)
class Camera:
    """One virtual camera."""

    pitch: float  # how far it looks down, radians
    distance: float  # in standing heights: a short focal length has strong perspective
    rows: int  # pixels of a person's height in its picture
    blur: float  # of the lens, in pixels of its picture
    motion: float  # length of motion blur, in pixels of its picture
    noise: np.ndarray  # uint8 around 128, larger than a frame: a random window of it is a frame's noise
    quality: int  # of its JPEG or video compression
    tone: np.ndarray  # [256, 3] float: exposure, gamma, contrast and white balance
    saturation: float
    sharpening: float
    light: float  # from the left (-1) to the right (1)
    contrast: float  # of the light
    cast: float  # darkness of shadows on the ground


@functools.lru_cache(maxsize=COUNT)
def camera(seed: int, camid: int) -> Camera:
    """Return camera `camid` (from 1)."""
    rng = np.random.default_rng([seed, _CAMERA, camid])
    level = np.arange(256)[:, None] / 255.0
    gamma = np.exp(rng.normal(0.0, 0.2))
    curve = level**gamma
    curve = curve + rng.uniform(0.1, 0.9) * (3 * curve**2 - 2 * curve**3 - curve)  # contrast
    warm = rng.normal(0.01, 0.045) * np.array([1.0, 0.0, -1.0]) + rng.normal(0.01, 0.016) * np.array([-0.5, 1.0, -0.5])
    black = rng.uniform(0, 22) if rng.random() < 0.3 else 0.0
    tone = black + (255 - black) * np.exp(rng.normal(0.02, 0.12)) * np.exp(warm) * curve
    sunny = rng.random() < 0.35
    rows = int(np.exp(rng.uniform(np.log(40), np.log(240))))
    blur = float(rng.choice([0.0, 0.6, 0.9], p=[0.25, 0.4, 0.35]))
    return Camera(
        pitch=float(np.clip(rng.gamma(2.2, 0.16), 0.0, 0.95)),
        distance=float(np.exp(rng.uniform(np.log(1.8), np.log(14.0)))),
        rows=rows,
        blur=blur if rows > 64 else 0.0,  # pixels hide what a lens does to small pictures
        motion=float(rng.choice([0.0, 2.0, 3.5], p=[0.82, 0.13, 0.05])),
        noise=(128.5 + rng.gamma(1.5, 0.9) * rng.standard_normal((_NOISE, _NOISE, 3))).clip(0, 255).astype(np.uint8),
        quality=int(rng.integers(25, 92)),
        tone=tone,
        saturation=float(np.exp(rng.normal(-0.35, 0.26))),
        sharpening=float(rng.choice([0.0, 0.5, 1.0], p=[0.6, 0.27, 0.13])),
        light=float(rng.uniform(-1, 1)),
        contrast=float(rng.uniform(0.25, 0.5) if sunny else rng.uniform(0.06, 0.26)),
        cast=float(rng.uniform(0.4, 0.8) if sunny else rng.uniform(0.05, 0.3)),
    )


def expose(frames: np.ndarray, cam: Camera, rng: np.random.Generator) -> np.ndarray:
    """Return what the camera records of `frames`, uint8 `[T, H, W, 3]` RGB, at the same size.

    Colours, sharpness, noise and compression are those of the camera; the exposure differs a little by tracklet.
    """
    length, height, width, _ = frames.shape
    if max(height, width) > _NOISE:
        raise ValueError(f"frames have {height}x{width} pixels; walkers/wild draws at most {_NOISE}x{_NOISE}")
    rows = min(cam.rows, height)
    tone = np.clip(cam.tone * np.exp(rng.normal(0, 0.08)), 0, 255).astype(np.uint8)[:, None]
    s = cam.saturation
    mix = (1 - s) * np.array([0.299, 0.587, 0.114])[None] + s * np.eye(3)
    small = (max(rows * width // height, 8), rows)
    corners = rng.integers(0, _NOISE - np.array(small[::-1]) + 1, (length, 2))
    kernel = _motion(cam.motion * rows / max(cam.rows, rows))
    options = [cv2.IMWRITE_JPEG_QUALITY, cam.quality]
    flat = frames.reshape(length * height, width, 3)
    flat = cv2.LUT(cv2.transform(flat, mix), tone).reshape(frames.shape)
    out = np.empty_like(frames)
    for t in range(length):
        image = flat[t]
        if rows < height:
            image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        if kernel is not None:
            image = cv2.filter2D(image, -1, kernel)
        if cam.blur:
            image = cv2.GaussianBlur(image, (3, 3), cam.blur)
        if cam.sharpening:
            soft = cv2.GaussianBlur(image, (3, 3), 1.0)
            image = cv2.addWeighted(image, 1 + cam.sharpening, soft, -cam.sharpening, 0)
        y, x = corners[t]
        image = cv2.addWeighted(image, 1, cam.noise[y : y + small[1], x : x + small[0]], 1, -128)
        if rows < height:
            compressed = cv2.imdecode(cv2.imencode(".jpg", image, options)[1], cv2.IMREAD_COLOR)
            assert compressed is not None
            image = cv2.resize(compressed, (width, height), interpolation=cv2.INTER_LINEAR)
        out[t] = image
    return out


def _motion(length: float) -> np.ndarray | None:
    """Return a horizontal motion blur of `length` pixels, none if it is too short to see."""
    if length < 1.0:
        return None
    kernel = np.zeros((1, 5), np.float32)
    kernel[0, 1:4] = 1.0
    kernel[0, [0, 4]] = max((length - 3.0) / 2, 0.0)
    return kernel / kernel.sum()
