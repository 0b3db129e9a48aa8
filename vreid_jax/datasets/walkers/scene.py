"""Drawing of one tracklet: the person, the background, the drifting box, occluders, and the camera."""

import cv2
import numpy as np

from vreid_jax.datasets.walkers import cameras, figures, people
from vreid_jax.datasets.walkers.plan import Plan, Tracklet, outfit_and_body, tracklet_stream

_HEIGHT, _WIDTH = cameras.CANVAS
_STRANGERS = 1_000_000  # first outfit number of people who only walk through


def _drift(rng: np.random.Generator, length: int, sigma: float, memory: float = 0.93) -> np.ndarray:
    """Draw smooth noise `[T]` of standard deviation `sigma`, autoregressive so that dynamics stay visible."""
    steps = rng.standard_normal(length) * np.sqrt(1 - memory**2)
    path = np.empty(length)
    value = rng.standard_normal()
    for t in range(length):
        value = memory * value + steps[t]
        path[t] = value
    return sigma * path


def _part_of(rng: np.random.Generator, length: int) -> tuple[int, int]:
    """Draw a stretch of 25 to 60 % of a tracklet: its first frame, and the one after its last."""
    size = max(2, int(length * rng.uniform(0.25, 0.6)))
    start = int(rng.integers(0, max(1, length - size + 1)))
    return start, start + size


def draw_tracklet(plan: Plan, tracklet: Tracklet, phase: np.ndarray | None = None) -> np.ndarray:
    """Draw a tracklet.

    Args:
      plan: the plan of the dataset; its size holds the picture size and the seed.
      tracklet: one of `plan.train` or `plan.test`.
      phase: `[T]` stride phases in radians that replace the identity's own gait.

    Returns:
      uint8 `[T, H, W, 3]`, RGB; a pure function of (seed, split, index) and of the library versions.
    """
    size, length = plan.size, tracklet.length
    # Four generators, so that an occlusion, for example, changes nothing else.
    walk, box, events, film = tracklet_stream(size.seed, tracklet).spawn(4)
    camera = cameras.make_camera(size.seed, tracklet.camid, size.height, size.width)
    outfit, body = outfit_and_body(size.seed, tracklet.outfit)
    time = np.arange(length)

    gait = plan.gaits.get(tracklet.pid) or people.sample_gait(walk)
    start = walk.uniform(0, 2 * np.pi)
    pace = np.exp(0.03 * walk.standard_normal())
    own_phase = start + 2 * np.pi * gait.frequency * pace * time
    stride = own_phase if phase is None else phase
    yaw = camera.yaw + walk.uniform(-0.12, 0.12)
    leftwards = walk.random() < 0.5
    if leftwards:
        yaw = np.pi - yaw

    # The box follows the person badly: slow drift, some shake, and a constant error.
    off = size.box_jitter
    scale = _HEIGHT * box.uniform(0.80, 0.93) * np.exp(_drift(box, length, 0.02 * off))
    centre = _WIDTH / 2 + box.normal(0, 5.0 * off) + _drift(box, length, 3.0 * off) + box.normal(0, 0.4 * off, length)
    floor = _HEIGHT - 0.5 * (_HEIGHT - scale) - 4 + box.normal(0, 4.0 * off) + _drift(box, length, 2.5 * off)
    if tracklet.pid == -1:  # junk: boxes that miss most of the person
        scale = scale * box.choice([0.55, 1.7])
        centre = centre + box.choice([-1, 1]) * box.uniform(45, 75)
        floor = floor + box.choice([-1, 1]) * box.uniform(60, 130)

    speed = box.uniform(1.5, 5.0) * np.cos(yaw) + box.normal(0, 0.3)
    scroll = box.uniform(0, 1024) + speed * time - (centre - _WIDTH / 2)
    shake = np.clip(np.rint(floor - floor.mean()), -cameras.MARGIN, cameras.MARGIN).astype(int)
    if tracklet.lost:  # for some frames the tracker follows the wrong place
        count = min(int(events.integers(2, 6)), max(1, length // 3))
        first = int(events.integers(0, length - count + 1))
        away = events.choice([-1, 1]) * events.uniform(65, 100)
        centre[first : first + count] += away
        scroll[first : first + count] -= away

    feet = np.stack([centre, floor], -1)
    walker = figures.place(figures.person(outfit, body, yaw, camera.pitch, stride, gait.arm_offset), scale, feet)
    shadow = _shadow(camera, scale, feet)
    crossing, crossing_behind, crossed = _crossing(events, tracklet, camera, scale, floor, plan)
    thing, hidden = _occluder(events, tracklet, speed)

    frames = np.empty((length, size.height, size.width, 3), np.uint8)
    span = camera.panorama.shape[1] - _WIDTH
    for t in range(length):
        x = int(scroll[t] % span)
        y = cameras.MARGIN - shake[t]
        image = np.ascontiguousarray(camera.panorama[y : y + _HEIGHT, x : x + _WIDTH])
        cv2.fillConvexPoly(image, shadow[t], (0.62 * camera.ground).tolist(), cv2.LINE_AA, figures.SHIFT)
        crosses = crossed[0] <= t < crossed[1]
        if crosses and crossing_behind:
            figures.paint(image, crossing, t)
        figures.paint(image, walker, t)
        if crosses and not crossing_behind:
            figures.paint(image, crossing, t)
        if hidden[0] <= t < hidden[1]:
            figures.paint(image, thing, t)
        if camera.blur:
            image = cv2.GaussianBlur(image, (3, 3), camera.blur)
        if (size.height, size.width) != cameras.CANVAS:
            image = cv2.resize(image, (size.width, size.height), interpolation=cv2.INTER_AREA)
        frames[t] = image
    return _develop(film, camera, frames)


def _develop(rng: np.random.Generator, camera: cameras.Camera, frames: np.ndarray) -> np.ndarray:
    """Apply light, colour cast and noise of the camera."""
    length, height, width, _ = frames.shape
    brightness = np.clip(camera.tone * np.exp(rng.normal(0, 0.06)), 0, 255).astype(np.uint8)
    flat = cv2.LUT(frames.reshape(length * height, width, 3), brightness)
    frames = flat.reshape(frames.shape)
    corners = rng.integers(0, (height, width), (length, 2))
    for t, (y, x) in enumerate(corners):
        noise = camera.noise[y : y + height, x : x + width]
        cv2.add(frames[t], noise, dst=frames[t], dtype=cv2.CV_8U)
    return frames


def _shadow(camera: cameras.Camera, scale: np.ndarray, feet: np.ndarray) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = np.stack([0.17 * np.cos(turn) + 0.03, 0.025 * np.sin(turn) - 0.005], -1)
    corners = ring[None] * scale[:, None, None] + feet[:, None]
    return (corners * (1 << figures.SHIFT)).round().astype(np.int32)


def _crossing(rng, tracklet: Tracklet, camera, scale, floor, plan: Plan):
    """Draw another person who walks through the picture: parts, whether behind the first, and during which frames."""
    if not tracklet.crossed:
        return [], False, (0, 0)
    first, last = _part_of(rng, tracklet.length)
    stranger, body = outfit_and_body(plan.size.seed, _STRANGERS + int(rng.integers(100_000)))
    gait = people.sample_gait(rng)
    time = np.arange(tracklet.length)
    phase = rng.uniform(0, 2 * np.pi) + 2 * np.pi * gait.frequency * time
    direction = rng.choice([-1, 1])
    behind = bool(rng.random() < 0.4)
    yaw = camera.yaw if direction > 0 else np.pi - camera.yaw
    along = np.interp(time, [first, last - 1], [-0.5, 0.5]) * direction
    feet = np.stack([_WIDTH / 2 + along * 1.25 * _WIDTH, floor + (-10 if behind else 12)], -1)
    parts = figures.person(stranger, body, yaw, camera.pitch, phase, gait.arm_offset)
    return figures.place(parts, scale * (0.93 if behind else 1.05), feet), behind, (first, last)


def _occluder(rng: np.random.Generator, tracklet: Tracklet, speed: float):
    """Draw an object in front that slides through the picture with the background, and during which frames."""
    if not tracklet.occluded:
        return [], (0, 0)
    first, last = _part_of(rng, tracklet.length)
    kind = rng.choice(["post", "bin", "hedge", "car"])
    colour = people.as_colour((rng.uniform(40, 190) + rng.uniform(-30, 30, 3)).clip(0, 255))
    half, top = {"post": (8, -20), "bin": (34, 150), "hedge": (90, 165), "car": (110, 140)}[str(kind)]
    if kind == "hedge":
        colour = people.as_colour(c * rng.uniform(0.7, 1.2) for c in (48, 92, 44))
    round_ = 8 if kind == "post" else 14
    box = [
        (-half, top + round_),
        (-half + round_, top),
        (half - round_, top),
        (half, top + round_),
        (half, 270),
        (-half, 270),
    ]
    lid = [(-half - 3, top + 4), (-half - 3, top - 8), (half + 3, top - 8), (half + 3, top + 4)]
    middle = (first + last) / 2
    reach = _WIDTH / 2 + half
    direction = -1.0 if speed > 0 else 1.0
    x = _WIDTH / 2 + direction * (np.arange(tracklet.length) - middle) * (2 * reach / max(last - first, 1)) * 0.8
    shift = np.stack([x, np.zeros_like(x)], -1)
    parts = [(np.broadcast_to(np.array(box, float), (len(x), 6, 2)), colour)]
    if kind != "post":
        parts.append((np.broadcast_to(np.array(lid, float), (len(x), 4, 2)), people.as_colour(0.7 * c for c in colour)))
    return figures.place(tuple(parts), np.ones(len(x)), shift), (first, last)


def encode(frames: np.ndarray, quality: int = 92) -> list[bytes]:
    """Encode uint8 `[T, H, W, 3]` RGB as T JPEG files without chroma subsampling."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return [cv2.imencode(".jpg", np.ascontiguousarray(f[..., ::-1]), options)[1].tobytes() for f in frames]


def encoded_tracklet(plan: Plan, tracklet: Tracklet) -> list[bytes]:
    """Draw a tracklet and encode its frames."""
    return encode(draw_tracklet(plan, tracklet))
