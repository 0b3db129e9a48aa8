"""Drawing of one tracklet of walkers/wild: a person cut out, a background for every frame, other people, the camera."""

import functools

import cv2
import numpy as np

from vreid_jax.datasets.walkers import backgrounds, wild_cameras
from vreid_jax.datasets.walkers.wild_canvas import Painting, paint
from vreid_jax.datasets.walkers.wild_figures import draw_person
from vreid_jax.datasets.walkers.wild_people import sample_person
from vreid_jax.datasets.walkers.wild_plan import WildPlan, WildSize, WildTracklet
from vreid_jax.datasets.walkers.wild_poses import View, sample_pose

_PERSON, _TRACKLET, _STRANGER, _FOLDS = 229, 233, 239, 241  # numbers of random generators


def draw_wild_tracklet(plan: WildPlan, tracklet: WildTracklet) -> np.ndarray:
    """Draw a tracklet.

    Args:
      plan: the plan of the dataset; its size holds the picture size and the seed.
      tracklet: one of `plan.train` or `plan.test`.

    Returns:
      uint8 `[T, H, W, 3]`, RGB; a pure function of (seed, pid, number) and of the library versions.
    """
    size = plan.size
    person = np.random.default_rng([size.seed, _PERSON, tracklet.pid])
    build, outfit = sample_person(person)
    rng = np.random.default_rng([size.seed, _TRACKLET, tracklet.pid, tracklet.number])
    cam = wild_cameras.camera(size.seed, tracklet.camid)
    polygons = _place(rng, build, outfit, cam, size.frames, size.height, size.width)
    folds = _fold_texture(size.seed, tracklet.pid % 24, round(4 * outfit.folds), size.height, size.width)
    others = rng.random((2, size.frames)) < 0.25  # in front, behind
    soft = float(rng.uniform(0.7, 1.3))  # edges and shading of the figure, pixels
    steady = rng.random() < 0.3  # the background passes by, rather than being another one in every frame
    frames = np.empty((size.frames, size.height, size.width, 3), np.uint8)
    views = _windows(rng, size.scenes, size.frames, steady)
    for t, (number, place, zoom, mirrored) in enumerate(views):
        image = backgrounds.window(size.seed, number, place, zoom, (size.height, size.width), mirrored)
        if others[1, t]:
            _stranger(rng, image, size, near=False)
        figure = np.zeros((size.height, size.width, 4), np.uint8)
        paint(figure, polygons, t)
        figure = cv2.GaussianBlur(figure, (5, 5), soft)
        y, x = rng.integers(0, 6, 2)
        figure = cv2.multiply(figure, folds[y : y + size.height, x : x + size.width], scale=1 / 128)
        _over(image, figure)
        if others[0, t]:
            _stranger(rng, image, size, near=True)
        frames[t] = image
    return wild_cameras.expose(frames, cam, rng)


def encode_wild(frames: np.ndarray, plan: WildPlan, tracklet: WildTracklet) -> list[bytes]:
    """Encode uint8 `[T, H, W, 3]` RGB as T JPEG files, with a quality like the camera's."""
    cam = wild_cameras.camera(plan.size.seed, tracklet.camid)
    quality = max(cam.quality, 78) if cam.rows < plan.size.height else max(cam.quality, 45)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return [cv2.imencode(".jpg", cv2.cvtColor(f, cv2.COLOR_RGB2BGR), options)[1].tobytes() for f in frames]


def encoded_wild_tracklet(plan: WildPlan, tracklet: WildTracklet) -> list[bytes]:
    """Draw a tracklet and encode its frames."""
    return encode_wild(draw_wild_tracklet(plan, tracklet), plan, tracklet)


def _windows(rng: np.random.Generator, scenes: int, length: int, steady: bool):
    """Yield number, place, zoom and mirroring of each frame's background."""
    numbers = rng.integers(0, scenes, length)
    places, zooms = rng.random((length, 2)), rng.uniform(0.4, 1.0, length)
    mirrored = rng.random(length) < 0.5
    if steady:
        walk = np.linspace(0, rng.uniform(-0.7, 0.7), length)[:, None] * [0.2, 1.0]
        numbers[:], zooms[:], mirrored[:] = numbers[0], zooms[0], mirrored[0]
        places = np.clip(places[:1] + walk, 0, 1)
    yield from zip(numbers.tolist(), places, zooms.tolist(), mirrored.tolist(), strict=True)


def _place(rng: np.random.Generator, build, outfit, cam, length: int, height: int, width: int):
    """Draw pose, direction and box; return the polygons of the person in pixels of each frame."""
    pose = sample_pose(rng, build, outfit.bag, length)
    turn = rng.normal(0, 0.03) + (rng.normal(0, 0.15) if rng.random() < 0.15 else 0.0)
    yaw = rng.uniform(0, 2 * np.pi) + turn * np.arange(length) + rng.normal(0, 0.05, length)
    view = View(yaw, cam.pitch + rng.normal(0, 0.04), cam.distance)
    painting = Painting(cam.light, cam.contrast)
    points = draw_person(build, outfit, pose, view, painting, cam.cast)
    low, high = points.min(0), points.max(0)  # [T, 2]
    low, high = low - np.array([0.05, build.head + 0.01]), high + np.array([0.05, 0.03])
    # The box: tight or with a margin, off by some per cent, wide or narrow, and cut at the legs for some.
    tall = high[:, 1] - low[:, 1]
    wide = high[:, 0] - low[:, 0]
    middle = (low + high) / 2
    shake = rng.normal(0, 0.012, (length, 4))
    margin = 1.0 + rng.normal(0.05, 0.05)
    aspect = rng.uniform(0.30, 0.5)
    box_wide = tall * aspect * margin if rng.random() < 0.6 else wide * rng.uniform(1.0, 1.25)
    box_wide = np.clip(box_wide, tall * 0.5 / 1.9, tall * 0.62)
    top = middle[:, 1] - tall * margin / 2 + tall * (rng.normal(0, 0.02) + shake[:, 0])
    box_tall = tall * margin * (1 + shake[:, 1])
    if rng.random() < 0.16:
        box_tall = box_tall * rng.uniform(0.5, 0.92)
        box_wide = box_wide * rng.uniform(0.75, 1.0)
    left = middle[:, 0] - box_wide / 2 + box_wide * (rng.normal(0, 0.04) + shake[:, 2])
    scale = np.stack([width / box_wide, height / box_tall], -1)
    offset = -np.stack([left, top], -1) * scale
    return painting.frames(scale, offset)


@functools.lru_cache(maxsize=192)
def _fold_texture(seed: int, number: int, strength: int, height: int, width: int) -> np.ndarray:
    """Return folds and weave as a factor times 128, uint8 `[H + 6, W + 6, 4]`; transparency is left alone."""
    rng = np.random.default_rng([seed, _FOLDS, number])
    rows, columns = height + 6, width + 6
    field = np.zeros((rows, columns), np.float32)
    for across, along, weight in ((5, 9, 0.7), (9, 20, 0.8), (20, 26, 0.3)):
        noise = rng.standard_normal((along, across)).astype(np.float32)
        field += weight * cv2.resize(noise, (columns, rows), interpolation=cv2.INTER_CUBIC)
    texture = 128.0 * np.exp(0.035 * strength * field)
    texture = np.repeat(texture[..., None], 4, axis=2)
    texture[..., 3] = 128.0
    return texture.clip(0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=512)
def _stranger_sprite(seed: int, number: int) -> np.ndarray:
    """Return somebody else, uint8 `[128, 64, 4]` with premultiplied alpha."""
    rng = np.random.default_rng([seed, _STRANGER, number])
    build, outfit = sample_person(rng)
    cam = wild_cameras.camera(seed, int(rng.integers(1, wild_cameras.COUNT + 1)))
    figure = np.zeros((128, 64, 4), np.uint8)
    paint(figure, _place(rng, build, outfit, cam, 1, 128, 64), 0)
    return cv2.GaussianBlur(figure, (3, 3), 0.9)


def _stranger(rng: np.random.Generator, image: np.ndarray, size: WildSize, near: bool) -> None:
    """Paint another person over `image`, near and partly in the way, or far and small."""
    sprite = _stranger_sprite(size.seed, int(rng.integers(size.strangers)))
    height, width = image.shape[:2]
    zoom = rng.uniform(0.8, 1.3) if near else rng.uniform(0.35, 1.0)
    wide, tall = int(zoom * width), int(zoom * height)
    side = rng.choice([-1, 1])
    x = int(width / 2 + side * width * rng.uniform(*((0.38, 0.75) if near else (0.2, 0.6))) - wide / 2)
    y = int(height * (rng.uniform(0.0, 0.35) if near else rng.uniform(-0.15, 0.45)))
    sprite = cv2.resize(sprite, (wide, tall), interpolation=cv2.INTER_LINEAR)
    top, left = max(y, 0), max(x, 0)
    low, right = min(y + tall, height), min(x + wide, width)
    if low > top and right > left:
        _over(image[top:low, left:right], np.ascontiguousarray(sprite[top - y : low - y, left - x : right - x]))


def _over(image: np.ndarray, figure: np.ndarray) -> None:
    """Composite a figure with premultiplied alpha over `image`, in place."""
    rest = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(figure, 3)), cv2.COLOR_GRAY2RGB)
    behind = cv2.multiply(image, rest, scale=1 / 255)
    image[...] = cv2.add(behind, cv2.cvtColor(figure, cv2.COLOR_RGBA2RGB))
