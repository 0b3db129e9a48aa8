"""Drawing of what one camera of a scene sees, frame by frame, and of the truth about it."""

import dataclasses
from collections.abc import Iterator

import cv2
import numpy as np

from vreid_jax.datasets.scenes import optics, street
from vreid_jax.datasets.scenes.plan import SceneSettings, Way, areas, way_of
from vreid_jax.datasets.walkers.wild_canvas import SHIFT, Painting, paint
from vreid_jax.datasets.walkers.wild_figures import draw_person
from vreid_jax.datasets.walkers.wild_people import Build, Outfit, sample_person
from vreid_jax.datasets.walkers.wild_poses import View, sample_pose

_PERSON, _POSE, _FILM, _SUN = 331, 332, 333, 334  # numbers of random generators
_CHUNK = 5  # frames whose figure has one order of limbs
_STRIDE = 0.82  # length of a stride, two steps, in standing heights
_SOLID = 150  # alpha from which a pixel is the person and not their shadow
_NEAREST, _FARTHEST = 2.0, 40.0  # metres


@dataclasses.dataclass(frozen=True)
class Person:
    """An identity."""

    build: Build
    outfit: Outfit
    tall: float  # metres
    way: Way


@dataclasses.dataclass(frozen=True)
class Seen:
    """The truth about one person in one frame of one camera.

    Attributes:
      frame: number, from 1.
      identity: of the person, from 1, the same in all cameras.
      box: left, top, width, height of the part of the person inside the picture, hidden or not, pixels.
      visibility: share of the person's pixels that are inside the picture and not hidden.
    """

    frame: int
    identity: int
    box: tuple[int, int, int, int]
    visibility: float


def people_of(settings: SceneSettings) -> list[Person]:
    """Return everybody in a scene; identity 1 comes first."""
    people = []
    for identity in range(1, settings.people + 1):
        rng = np.random.default_rng([settings.seed, _PERSON, identity])
        build, outfit = sample_person(rng)
        tall = rng.uniform(1.25, 1.5) if build.head > 0.07 else rng.uniform(1.58, 1.88)  # children have large heads
        people.append(Person(build, outfit, float(tall), way_of(settings, identity)))
    return people


def draw_camera(settings: SceneSettings, camid: int) -> Iterator[tuple[np.ndarray, list[Seen]]]:
    """Yield every frame of a camera, uint8 `[H, W, 3]` RGB, and who is in it; a pure function of the arguments."""
    camera = optics.make_camera(settings, camid)
    empty = camera.backdrop(settings.seed)
    film = np.random.default_rng([settings.seed, _FILM, camid])
    people = people_of(settings)
    things = [
        _standing(camera, place, faces) for place, faces in street.things(settings.seed, areas(settings))
        if (camera.project(np.array([[*place, 1.0]]))[1] > _NEAREST).all()
    ]  # fmt: skip
    for start in range(0, settings.frames, _CHUNK):
        times = np.arange(start, min(start + _CHUNK, settings.frames))
        figures = [
            figure
            for number, person in enumerate(people, 1)
            for figure in _figure(settings, camera, number, person, times)
        ]
        for index, time in enumerate(times.tolist()):
            yield _draw(camera, empty, index, time + 1, figures, things, film)


@dataclasses.dataclass(frozen=True, eq=False)
class _Figure:
    identity: int
    depth: np.ndarray  # [T]
    corner: np.ndarray  # [T, 2] of the canvas in the picture, whole pixels
    size: tuple[int, int]  # of the canvas, height and width
    polygons: list[tuple[np.ndarray, tuple[float, ...]]]


def _figure(
    settings: SceneSettings, camera: optics.SceneCamera, identity: int, person: Person, times: np.ndarray
) -> list[_Figure]:
    """Return the figure of a person during some frames, or nothing where they are out of sight."""
    way, tall = person.way, person.tall
    place = way.place[times]
    middle = np.concatenate([place, np.full((len(times), 1), tall / 2)], 1)
    spot, depth = camera.project(middle)
    height, width = camera.size
    scale = camera.focal * tall / np.maximum(depth, 0.1)
    near = (depth > _NEAREST) & (depth < _FARTHEST)
    inside = (
        near
        & (np.abs(spot[:, 0] - width / 2) < width / 2 + scale)
        & (np.abs(spot[:, 1] - height / 2) < height / 2 + scale)
    )
    if not inside.any():
        return []
    towards = camera.place[:2] - place
    distance = np.hypot(towards[:, 0], towards[:, 1])
    towards = towards / distance[:, None]
    right = np.stack([-towards[:, 1], towards[:, 0]], -1)
    turn = np.stack([np.cos(way.heading[times]), np.sin(way.heading[times])], -1)
    yaw = np.unwrap(np.arctan2((turn * towards).sum(1), (turn * right).sum(1)))
    rise = camera.place[2] - tall / 2
    view = View(yaw, float(np.mean(np.arctan2(rise, distance))), float(np.mean(distance)) / tall)
    sun = np.random.default_rng([settings.seed, _SUN])
    contrast, cast = float(sun.uniform(0.12, 0.42)), float(sun.uniform(0.15, 0.7))
    painting = Painting(camera.light, contrast)
    rng = np.random.default_rng([settings.seed, _POSE, identity])
    pose = sample_pose(rng, person.build, person.outfit.bag, len(times))
    walking = float(np.clip(np.mean(way.pace[times]) / 0.9, 0.0, 1.0))
    pose = dataclasses.replace(
        pose,
        phase=2 * np.pi * (rng.random() + way.walked[times] / (_STRIDE * tall)),
        stride=person.build.stride * walking + 0.04,
        knees=0.25 + 0.4 * walking,
        apart=0.02,
        sitting=0.0,
    )
    draw_person(person.build, person.outfit, pose, view, painting, cast)
    polygons = painting.frames(np.stack([scale, scale], -1), spot)
    low = np.min([corners.min(1) for corners, _ in polygons], axis=0) >> SHIFT
    high = (np.max([corners.max(1) for corners, _ in polygons], axis=0) >> SHIFT) + 1
    corner, reach = low - 3, (high - low + 7).max(0)
    moved = [(corners - (corner << SHIFT)[:, None], colour) for corners, colour in polygons]
    return [_Figure(identity, np.where(inside, depth, np.inf), corner, (int(reach[1]), int(reach[0])), moved)]


def _standing(
    camera: optics.SceneCamera, place: np.ndarray, faces
) -> tuple[float, list[tuple[np.ndarray, tuple[float, ...]]]]:
    """Return the depth of a thing and its faces in the picture, fixed-point `[4, 2]`."""
    right = camera.axes[0]
    drawn = []
    for face, colour in faces:
        points = np.array([*place, 0.0]) + face[:, :1] * right + face[:, 1:] * np.array([0.0, 0.0, 1.0])
        drawn.append((np.rint(camera.project(points)[0] * (1 << SHIFT)).astype(np.int32), colour))
    return float(camera.project(np.array([[*place, 0.8]]))[1][0]), drawn


def _draw(camera, empty, index, frame, figures: list[_Figure], things, film) -> tuple[np.ndarray, list[Seen]]:
    """Draw one frame, the farthest first, and note which pixel is whose."""
    image, owner = empty.copy(), np.zeros(empty.shape[:2], np.int32)
    whole: dict[int, tuple[int, tuple[int, int, int, int]]] = {}
    layers = [(depth, 0, faces) for depth, faces in things]
    layers += [(float(f.depth[index]), f.identity, f) for f in figures if np.isfinite(f.depth[index])]
    for _, identity, layer in sorted(layers, key=lambda each: each[:2], reverse=True):
        if identity:
            painted = _paint_figure(image, owner, layer, index)
            if painted:
                whole[identity] = painted
        else:
            for corners, colour in layer:
                cv2.fillConvexPoly(image, corners, colour, cv2.LINE_AA, SHIFT)
                cv2.fillConvexPoly(owner, corners, -1, cv2.LINE_8, SHIFT)
    counts = np.bincount(np.maximum(owner, 0).reshape(-1), minlength=1)
    seen = [
        Seen(frame, identity, box, min(1.0, float(counts[identity]) / pixels) if identity < len(counts) else 0.0)
        for identity, (pixels, box) in sorted(whole.items())
    ]
    return optics.develop(camera, image, film), seen


def _paint_figure(image: np.ndarray, owner: np.ndarray, figure: _Figure, index: int):
    """Paint a figure; return how many pixels all of it has, and the box of those inside the picture, or None if none is."""
    tall, wide = figure.size
    canvas = np.zeros((tall, wide, 4), np.uint8)
    paint(canvas, figure.polygons, index)
    canvas = cv2.GaussianBlur(canvas, (3, 3), 0.7)
    x, y = figure.corner[index].tolist()
    pixels = int((canvas[..., 3] > _SOLID).sum())
    top, left = max(y, 0), max(x, 0)
    low, right = min(y + tall, image.shape[0]), min(x + wide, image.shape[1])
    if low <= top or right <= left:
        return None
    part = np.ascontiguousarray(canvas[top - y : low - y, left - x : right - x])
    solid = part[..., 3] > _SOLID
    window = image[top:low, left:right]
    rest = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(part, 3)), cv2.COLOR_GRAY2RGB)
    window[...] = cv2.add(cv2.multiply(window, rest, scale=1 / 255), cv2.cvtColor(part, cv2.COLOR_RGBA2RGB))
    owner[top:low, left:right][solid] = figure.identity
    if not solid.any():
        return None
    a, b, w, h = cv2.boundingRect(solid.astype(np.uint8))
    return pixels, (left + a, top + b, w, h)
