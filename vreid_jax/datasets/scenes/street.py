"""The street of a scene: the textures of its ground and house fronts, and the things that stand in the way."""

import functools

import cv2
import numpy as np

from vreid_jax.datasets.scenes.plan import KERB, WALL

STOREY = 6.0  # metres of the house fronts that are drawn
_LENGTH = 60.0  # metres after which the street repeats
_FINE = 40  # pixels per metre
_TEXTURE, _THINGS = 321, 322  # numbers of random generators


@functools.lru_cache(maxsize=2)
def textures(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ground, `[20 m, 60 m]`, and the fronts of the houses, `[6 m, 60 m]`, as uint8 pictures in RGB."""
    rng = np.random.default_rng([seed, _TEXTURE])
    return _endless(_ground(rng)), _endless(_fronts(rng))


def _endless(image: np.ndarray) -> np.ndarray:
    """Let the last metres of a texture turn into what comes before its first, so that it repeats without a seam."""
    more = 4 * _FINE
    share = np.linspace(0.0, 1.0, more)[None, :, None]
    mixed = (1 - share) * image[:, -more:] + share * image[:, :more]
    return np.concatenate([mixed, image[:, more:-more]], 1).round().astype(np.uint8)


def look_up(texture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the colours at `x`, `y` `[H, W]` in metres; x repeats, y ends at the edges."""
    columns = np.mod(x * _FINE, texture.shape[1]).astype(np.float32)
    rows = np.clip(y * _FINE, 0, texture.shape[0] - 1).astype(np.float32)
    return cv2.remap(texture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def _grain(rng: np.random.Generator, shape: tuple[int, int], strength: float) -> np.ndarray:
    fine = rng.standard_normal((shape[0] // 3 + 1, shape[1] // 3 + 1)).astype(np.float32)
    rough = rng.standard_normal((shape[0] // 60 + 1, shape[1] // 60 + 1)).astype(np.float32)
    noise = cv2.resize(fine, shape[::-1]) + cv2.resize(rough, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return (strength * noise)[..., None]


def _ground(rng: np.random.Generator) -> np.ndarray:
    """Draw pavements along the houses and the lane between them."""
    height, width = int(2 * WALL * _FINE), int(_LENGTH * _FINE)
    lane = rng.uniform(95, 165) + rng.uniform(-8, 8, 3)
    pavement = rng.uniform(120, 190) + rng.uniform(-12, 12, 3)
    image = np.empty((height, width, 3), np.float32)
    image[:] = pavement
    edge = int((WALL - KERB - 0.6) * _FINE)
    image[edge : height - edge] = lane
    slab = int(rng.uniform(0.5, 1.0) * _FINE)
    for start, stop in ((0, edge), (height - edge, height)):
        for x in range(0, width, slab):
            cv2.line(image, (x, start), (x, stop), (0.86 * pavement).tolist(), 1)
        for y in range(start, stop, slab):
            cv2.line(image, (0, y), (width, y), (0.86 * pavement).tolist(), 1)
    for y in (edge, height - edge):
        cv2.line(image, (0, y), (width, y), (0.7 * lane).tolist(), 6)
    for x in range(0, width, int(5 * _FINE)):
        if rng.random() < 0.7:
            cv2.rectangle(image, (x, height // 2 - 3), (x + 2 * _FINE, height // 2 + 3), (220.0, 220.0, 214.0), -1)
    for _ in range(60):  # lids, stains and patches
        centre = int(rng.integers(width)), int(rng.integers(height))
        half = int(rng.integers(4, 34)), int(rng.integers(4, 26))
        cv2.ellipse(image, centre, half, 0, 0, 360, (image[centre[1], centre[0]] * rng.uniform(0.8, 1.1)).tolist(), -1)
    return (image + _grain(rng, (height, width), 5.0)).clip(0, 255).astype(np.uint8)


def _fronts(rng: np.random.Generator) -> np.ndarray:
    """Draw houses with doors, windows and shops."""
    height, width = int(STOREY * _FINE), int(_LENGTH * _FINE)
    image = np.empty((height, width, 3), np.float32)
    x = 0
    while x < width:
        house = min(int(rng.uniform(5, 11) * _FINE), width - x)
        wall = rng.uniform(90, 205) + rng.uniform(-30, 30, 3)
        image[:, x : x + house] = wall
        image[-int(0.5 * _FINE) :, x : x + house] = 0.7 * wall
        part = x + int(0.4 * _FINE)
        while part + _FINE < x + house:
            kind = rng.choice(["window", "door", "shop", "gap"], p=[0.4, 0.2, 0.25, 0.15])
            wide = int({"window": 1.1, "door": 1.0, "shop": 2.6, "gap": 0.8}[kind] * _FINE)
            wide = min(wide, x + house - part - 8)
            glass = (rng.uniform(25, 110) + rng.uniform(-15, 15, 3)).tolist()
            top, low = {"window": (3.4, 4.9), "door": (3.7, 6.0), "shop": (3.3, 5.6), "gap": (0, 0)}[kind]
            box = (part, int(top * _FINE)), (part + wide, int(low * _FINE))
            if kind != "gap":
                colour = glass if kind != "door" else (rng.uniform(40, 150) + rng.uniform(-30, 30, 3)).tolist()
                cv2.rectangle(image, *box, colour, -1)
                cv2.rectangle(image, *box, (1.15 * wall).tolist(), 4)
            if kind == "shop":
                sign = (rng.uniform(60, 200) + rng.uniform(-60, 55, 3)).tolist()
                cv2.rectangle(image, (part, int(2.6 * _FINE)), (part + wide, int(3.2 * _FINE)), sign, -1)
            part += wide + int(rng.uniform(0.3, 1.2) * _FINE)
        x += house
    image = cv2.GaussianBlur(image + _grain(rng, (height, width), 4.0), (0, 0), 1.2)
    return image.clip(0, 255).astype(np.uint8)


def things(seed: int, middles: list[float]) -> list[tuple[np.ndarray, list[tuple[np.ndarray, tuple[float, ...]]]]]:
    """Return what stands in the way: where, `[2]` metres, and its faces, `[4, 2]` (aside, up) metres with their colours."""
    rng = np.random.default_rng([seed, _THINGS])
    found = []
    for middle in middles:
        for side in (-1.0, 1.0):
            kind = rng.choice(["pole", "bin", "box", "none"], p=[0.4, 0.2, 0.25, 0.15])
            if kind == "none":
                continue
            half, tall = {"pole": (0.11, 5.0), "bin": (0.35, 1.05), "box": (0.8, 0.95)}[kind]
            colour = rng.uniform(45, 165) + rng.uniform(-25, 25, 3)
            place = np.array([middle + rng.uniform(-4, 4), side * rng.uniform(0.6, KERB + 0.5)])
            faces = [
                (_face(half, 0.0, tall), tuple(colour.tolist())),
                (_face(0.3 * half, 0.0, tall), tuple((1.18 * colour).tolist())),
            ]
            if kind == "bin":
                faces.append((_face(1.1 * half, tall, tall + 0.12), tuple((0.7 * colour).tolist())))
            if kind == "box":  # with a plant
                faces.append((_face(0.92 * half, tall, tall + 0.4), (62.0, 96.0, 52.0)))
            found.append((place, faces))
    return found


def _face(half: float, low: float, high: float) -> np.ndarray:
    return np.array([[-half, low], [half, low], [half, high], [-half, high]])
