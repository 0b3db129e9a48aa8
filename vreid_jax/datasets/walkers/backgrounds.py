"""Procedural pictures of streets, rooms and textures, behind the people of walkers/wild."""

import functools

import cv2
import numpy as np

SIZE = (256, 384)  # (height, width) of a scene
_SCENE = 211  # number of the scenes' random generators
_KINDS = ("plaza", "street", "room", "leaves", "clouds")
_SHARE = (0.52, 0.28, 0.12, 0.04, 0.04)


@functools.lru_cache(maxsize=512)
def scene(seed: int, number: int) -> np.ndarray:
    """Return scene `number`, uint8 `[256, 384, 3]` RGB; a pure function of its arguments."""
    rng = np.random.default_rng([seed, _SCENE, number])
    kind = _KINDS[int(np.searchsorted(np.cumsum(_SHARE), rng.random() * 0.999))]
    image = np.full((*SIZE, 3), _grey(rng, 60.0, 200.0), np.float32)
    {"plaza": _plaza, "street": _street, "room": _room, "leaves": _leaves, "clouds": _clouds}[kind](rng, image)
    image += _grain(rng, rng.uniform(2, 9))[..., None]
    image *= 1.0 + 0.01 * _grain(rng, rng.uniform(3, 14), coarse=24)[..., None]
    if rng.random() < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2.2))
    return image.clip(0, 255).astype(np.uint8)


def window(seed: int, number: int, place: np.ndarray, zoom: float, size: tuple[int, int], mirrored: bool) -> np.ndarray:
    """Cut a picture out of a scene.

    Args:
      seed: seed of the dataset.
      number: number of the scene.
      place: where, vertically and horizontally, each 0 … 1.
      zoom: height of the window as a share of the scene's.
      size: (height, width) of the result, pixels.
      mirrored: whether to swap left and right.
    """
    whole = scene(seed, number)
    height = int(zoom * SIZE[0])
    width = min(int(0.6 * height), SIZE[1])
    y, x = int(place[0] * (SIZE[0] - height)), int(place[1] * (SIZE[1] - width))
    cut = whole[y : y + height, x : x + width]
    picture = cv2.resize(cut, size[::-1], interpolation=cv2.INTER_LINEAR if height < 2 * size[0] else cv2.INTER_AREA)
    return cv2.flip(picture, 1) if mirrored else picture


def _grey(rng: np.random.Generator, low: float, high: float, cast: float = 12.0) -> np.ndarray:
    """Draw a nearly grey colour."""
    return rng.uniform(low, high) + rng.normal(0, cast) * np.array([1.0, 0.2, -1.0]) + rng.normal(0, 0.25 * cast, 3)


def _colour(rng: np.random.Generator) -> np.ndarray:
    return (rng.uniform(20, 210) + rng.normal(0, 1, 3) * rng.gamma(1.5, 11)).clip(5, 250)


def _grass(rng: np.random.Generator) -> np.ndarray:
    return np.array([0.85, 1.0, 0.52]) * rng.uniform(60, 150) * np.exp(rng.normal(0, 0.1, 3))


def _grain(rng: np.random.Generator, strength: float, coarse: int = 1) -> np.ndarray:
    """Return noise of two scales, `[H, W]`."""
    height, width = SIZE
    fine = rng.standard_normal((height // (2 * coarse) + 1, width // (2 * coarse) + 1), np.float32)
    rough = rng.standard_normal((height // (8 * coarse) + 1, width // (8 * coarse) + 1), np.float32)
    noise = cv2.resize(fine, (width, height)) + cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.float32(0.7 * strength) * noise


def _fill(image: np.ndarray, corners, colour) -> None:
    cv2.fillPoly(image, [np.array(corners, np.int32)], [float(c) for c in colour], cv2.LINE_8)


def _lines(rng: np.random.Generator, image: np.ndarray, top: int, colour, step: int, thick: int) -> None:
    """Draw the joints of slabs or tiles below row `top`, in perspective."""
    height, width = SIZE
    slant = rng.uniform(-1.2, 1.2)
    turn = rng.uniform(-0.25, 0.25)
    for x in range(-2 * width, 3 * width, step):
        cv2.line(image, (x, top), (int(x + slant * (height - top)), height), colour, thick, cv2.LINE_AA)
    power = rng.uniform(1.1, 1.5)
    for k in range(1, 14):
        y = top + int((height - top) * (k / 13) ** power)
        cv2.line(image, (0, int(y - turn * width / 2)), (width, int(y + turn * width / 2)), colour, thick, cv2.LINE_AA)


def _ground(rng: np.random.Generator, image: np.ndarray, top: int) -> None:
    """Cover everything below row `top`: asphalt, slabs, tiles, carpet or grass, with stripes and shadows."""
    height, width = SIZE
    kind = rng.choice(["asphalt", "slabs", "grass", "sand"], p=[0.5, 0.3, 0.11, 0.09])
    base = (
        _grass(rng)
        if kind == "grass"
        else _grey(rng, 135.0, 225.0, 5.0)
        if kind != "sand"
        else _grey(rng, 110.0, 190.0, 22.0)
    )
    image[top:] = base * np.linspace(rng.uniform(0.85, 1.1), rng.uniform(0.85, 1.1), height - top)[:, None, None]
    if kind == "slabs":
        _lines(
            rng,
            image,
            top,
            (base * rng.uniform(0.7, 1.15)).tolist(),
            int(rng.integers(24, 90)),
            int(rng.integers(1, 3)),
        )
    if kind == "grass":
        image[top:] *= 1.0 + 0.02 * _grain(rng, 7.0)[top:, :, None]
    for _ in range(rng.integers(0, 4)):  # kerbs, road markings, edges of lawns
        y, slope = rng.uniform(top, height), rng.normal(0, 0.5)
        thick = rng.uniform(2, 14) if rng.random() < 0.7 else rng.uniform(30, 120)
        colour = rng.choice(
            [
                np.array([225, 225, 220]),
                np.array([214, 178, 60]),
                base * 0.7,
                base * 1.2,
                _grass(rng),
                _grey(rng, 110.0, 200.0),
            ]
        )
        left, right = y - slope * width / 2, y + slope * width / 2
        _fill(
            image,
            [
                (0, max(left, top)),
                (width, max(right, top)),
                (width, max(right + thick, top)),
                (0, max(left + thick, top)),
            ],
            colour,
        )
    for _ in range(rng.integers(0, 3)):  # shadows of buildings and trees
        x, y = rng.uniform(0, width), rng.uniform(top, height)
        corners = np.array([x, y]) + rng.normal(0, 70, (5, 2))
        mask = np.ones(SIZE, np.float32)
        cv2.fillConvexPoly(mask, cv2.convexHull(corners.astype(np.int32)), rng.uniform(0.45, 0.8))
        image *= cv2.GaussianBlur(mask, (0, 0), 2.0)[..., None]


def _plaza(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw the ground as a high camera sees it, with what stands on it."""
    height, width = SIZE
    _ground(rng, image, int(rng.choice([0, 0, 0.15]) * height))
    for _ in range(rng.integers(1, 7)):
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        kind = rng.choice(["pole", "box", "car", "bush", "sign", "lid"])
        w, h = int(rng.uniform(12, 60)), int(rng.uniform(10, 50))
        colour = _colour(rng)
        if kind == "pole":
            cv2.line(
                image,
                (x, y),
                (x + int(rng.normal(0, 3)), max(y - 3 * h, 0)),
                (0.7 * colour).tolist(),
                int(rng.integers(3, 8)),
            )
        elif kind == "car":
            _car(rng, image, x, y)
        elif kind == "bush":
            _bush(rng, image, x, y, w)
        elif kind == "lid":
            cv2.ellipse(image, (x, y), (w // 3, w // 6), 0, 0, 360, (image[y, x] * 0.75).tolist(), -1)
        else:
            cv2.rectangle(image, (x, y), (x + w, y + h), colour.tolist(), -1)
            cv2.rectangle(image, (x, y + h), (x + w, y + h + 5), (0.5 * colour).tolist(), -1)
            if kind == "sign":
                for row in range(y + 6, y + h - 3, 7):
                    cv2.line(image, (x + 4, row), (x + w - 5, row), (255 - colour).tolist(), 2)


def _street(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw a street as a low camera sees it: ground, walls, windows, doors, hedges, cars, poles."""
    height, width = SIZE
    top = int(rng.uniform(0.25, 0.7) * height)
    image[:top] = _grey(rng, 60.0, 220.0, 14.0) * np.linspace(1.1, 0.9, top)[:, None, None]
    if rng.random() < 0.3:
        _lines_of_brick(rng, image, top)
    _ground(rng, image, top)
    x = -20
    while x < width:
        w = int(rng.integers(15, 110))
        kind = rng.choice(["window", "door", "bush", "pole", "panel", "car", "gap", "tree"])
        colour, wall = _colour(rng), image[0, 0]
        if kind in ("window", "door"):
            low = int(top * (0.75 if kind == "window" else 1.0))
            cv2.rectangle(image, (x, top // 6), (x + w, low), (0.5 * colour).tolist(), -1)
            for part in range(x, x + w, max(w // 3, 8)):
                cv2.line(image, (part, top // 6), (part, low), (0.8 * wall + 40).tolist(), 2)
            cv2.rectangle(image, (x, top // 6), (x + w, low), (0.8 * wall).tolist(), 3)
        elif kind == "bush":
            _bush(rng, image, x + w // 2, top, w)
        elif kind == "pole":
            cv2.rectangle(image, (x, 0), (x + w // 9, top + 20), (0.6 * colour).tolist(), -1)
        elif kind == "panel":
            cv2.rectangle(image, (x, 0), (x + w, top), (0.5 * wall + 0.5 * colour).tolist(), -1)
        elif kind == "car":
            _car(rng, image, x, top + int(rng.uniform(0, 25)))
        elif kind == "tree":
            cv2.rectangle(image, (x + w // 2, 0), (x + w // 2 + 8, top + 6), (62, 48, 38), -1)
            _bush(rng, image, x + w // 2, top // 3, w)
        x += w + int(rng.integers(2, 40))


def _lines_of_brick(rng: np.random.Generator, image: np.ndarray, top: int) -> None:
    base = np.array([1.15, 0.85, 0.72]) * rng.uniform(70, 150)
    image[:top] = base
    step = int(rng.integers(6, 14))
    for row, y in enumerate(range(0, top, step)):
        cv2.line(image, (0, y), (SIZE[1], y), (1.25 * base).tolist(), 1)
        for x in range((row % 2) * step, SIZE[1], 2 * step):
            cv2.line(image, (x, y), (x, min(y + step, top)), (1.25 * base).tolist(), 1)


def _car(rng: np.random.Generator, image: np.ndarray, x: int, y: int) -> None:
    w = int(rng.uniform(90, 190))
    h = int(0.2 * w)
    colour = _grey(rng, 15.0, 235.0, 10.0) if rng.random() < 0.7 else _colour(rng)
    _fill(
        image,
        [(x + 0.2 * w, y - h), (x + 0.32 * w, y - 1.9 * h), (x + 0.72 * w, y - 1.9 * h), (x + 0.86 * w, y - h)],
        0.8 * colour,
    )
    _fill(
        image,
        [(x + 0.26 * w, y - h), (x + 0.34 * w, y - 1.75 * h), (x + 0.7 * w, y - 1.75 * h), (x + 0.8 * w, y - h)],
        (45, 52, 60),
    )
    _fill(
        image,
        [(x, y), (x, y - 0.8 * h), (x + 0.2 * w, y - 1.05 * h), (x + 0.9 * w, y - h), (x + w, y - 0.7 * h), (x + w, y)],
        colour,
    )
    for wheel in (0.2, 0.8):
        cv2.circle(image, (int(x + wheel * w), y), int(0.45 * h), (24, 24, 26), -1)
        cv2.circle(image, (int(x + wheel * w), y), int(0.2 * h), (130, 130, 134), -1)


def _bush(rng: np.random.Generator, image: np.ndarray, x: int, y: int, size: int) -> None:
    base = _grass(rng) * 0.75
    for _ in range(int(size * 0.8) + 8):
        centre = (int(x + rng.normal(0, size / 2)), int(y - abs(rng.normal(0, size / 3))))
        cv2.circle(image, centre, int(rng.integers(2, 9)), (base * rng.uniform(0.5, 1.6)).tolist(), -1)


def _room(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw a room or a hall: floor with reflections, walls, shelves, bright windows."""
    height, width = SIZE
    top = int(rng.uniform(0.2, 0.6) * height)
    image[:top] = _grey(rng, 90.0, 235.0, 16.0)
    floor = _grey(rng, 70.0, 220.0, 16.0)
    image[top:] = floor
    _lines(rng, image, top, (floor * rng.uniform(0.75, 0.95)).tolist(), int(rng.integers(30, 110)), 1)
    for _ in range(rng.integers(2, 7)):
        x, w = int(rng.uniform(-20, width)), int(rng.uniform(15, 120))
        colour = _colour(rng) if rng.random() < 0.6 else np.array([240.0, 244.0, 246.0])
        y = int(rng.uniform(0, top * 0.6))
        cv2.rectangle(image, (x, y), (x + w, top + int(rng.uniform(0, 30))), colour.tolist(), -1)
        if rng.random() < 0.5:  # shelves
            for row in range(y + 8, top, 18):
                for item in range(x, x + w, 9):
                    cv2.rectangle(
                        image, (item, row), (item + 6, row + int(rng.integers(6, 14))), _colour(rng).tolist(), -1
                    )
        shine = image[top : top + (height - top) * 2 // 3, max(x, 0) : x + w]
        shine += 0.18 * (colour - shine)
    image *= np.linspace(rng.uniform(0.7, 1.1), rng.uniform(0.7, 1.1), width)[None, :, None]


def _leaves(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw overlapping shapes of all sizes, whose statistics are those of natural pictures."""
    height, width = SIZE
    muted = rng.uniform(6, 25)
    for size in np.sort(5.0 / rng.uniform(0.04, 1.0, 260))[::-1]:
        colour = (rng.uniform(25, 225) + rng.normal(0, muted, 3)).clip(0, 255).tolist()
        x, y = (rng.uniform(0, 1, 2) * (width, height)).tolist()
        if rng.random() < 0.5:
            cv2.ellipse(image, ((x, y), (2 * size, size * rng.uniform(0.4, 2)), rng.uniform(0, 180)), colour, -1)
        else:
            _fill(image, cv2.boxPoints(((x, y), (2 * size, size * rng.uniform(0.2, 2)), rng.normal(0, 12))), colour)


def _clouds(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw smooth noise of several scales and colours, and a gradient."""
    height, width = SIZE
    for scale in (3, 6, 12, 25, 50):
        noise = rng.standard_normal((scale * 2 // 3 + 2, scale + 2, 3)).astype(np.float32)
        noise = 0.5 * noise + 0.8 * noise[..., :1]
        image += rng.uniform(3, 16) * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    image += np.linspace(-1, 1, height)[:, None, None] * rng.normal(0, 35)
    image += np.linspace(-1, 1, width)[None, :, None] * rng.normal(0, 20)
