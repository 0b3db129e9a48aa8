"""Draw `cameras.webp`, the moving picture of the README and of the site's first page.

    python docs/images/make_cameras.py

Three cameras of walkers see three people, each of them twice. The picture loops without a jump, because every crossing and
every gait has a whole number of periods in it.
"""

from pathlib import Path

import cv2
import numpy as np

from vreid_jax.datasets.walkers import cameras, figures
from vreid_jax.datasets.walkers.plan import outfit_and_body

FRAMES, FRAMES_PER_SECOND = 60, 15
VIEW = (288, 432)  # (height, width) in which a camera's view is drawn
SHOWN = (256, 384)  # and in which it is shown
GAP = 4
QUALITY = 60
SEED = 0
PEOPLE = {"A": (29, (33, 102, 214)), "B": (12, (214, 110, 10)), "C": (21, (128, 62, 190))}  # outfit, colour of the box
# camera -> (person, direction, place in the period, floor, standing height in pixels), the farthest person first
SCENES = {
    1: (("C", 1, 0.52, 228, 158), ("A", -1, 0.02, 268, 198)),
    5: (("B", 1, 0.08, 224, 158), ("C", 1, 0.62, 268, 198)),
    2: (("A", 1, 0.40, 228, 158), ("B", -1, 0.86, 268, 198)),
}
MARGIN = 70  # pixels that a person walks outside the view


def film(camid: int, walks) -> np.ndarray:
    """Return what one camera sees, uint8 `[T, H, W, 3]` RGB."""
    camera = cameras.make_camera(SEED, camid, *VIEW)
    pictures = np.stack([camera.panorama[: VIEW[0], : VIEW[1]]] * FRAMES)
    boxes = []
    yaw = float(np.clip(camera.yaw, -0.5, 0.5))  # whoever comes straight at a camera does not cross its view
    length = VIEW[1] + 2 * MARGIN
    for name, direction, start, floor, height in walks:
        outfit, body = outfit_and_body(SEED, PEOPLE[name][0])
        stride = 4 * 0.48 * np.sin(body.leg_swing) * height * np.cos(yaw)  # the ground that two steps cover
        time = np.arange(FRAMES) / FRAMES
        across = (start + time) % 1 * length - MARGIN
        feet = np.stack([across if direction > 0 else VIEW[1] - across, np.full(FRAMES, float(floor))], -1)
        phase = 2 * np.pi * round(length / stride) * time
        parts = figures.person(outfit, body, yaw if direction > 0 else np.pi - yaw, camera.pitch, phase, 0.4)
        placed = figures.place(parts, np.full(FRAMES, float(height)), feet)
        for picture, foot in zip(pictures, feet, strict=True):
            centre, axes = (round(foot[0]) + 4, round(foot[1]) - 1), (round(0.17 * height), round(0.025 * height))
            cv2.ellipse(picture, centre, axes, 0, 0, 360, (0.62 * camera.ground).tolist(), -1, cv2.LINE_AA)
        for t, picture in enumerate(pictures):
            figures.paint(picture, placed, t)
        corners = np.concatenate([part for part, _ in placed], 1) / (1 << figures.SHIFT)
        boxes.append((name, corners.min(1) - 5, corners.max(1) + 5))
    tone = camera.tone.transpose(1, 0, 2)
    pictures = np.stack([cv2.resize(cv2.LUT(p, tone), SHOWN[::-1], interpolation=cv2.INTER_AREA) for p in pictures])
    for t, picture in enumerate(pictures):
        for name, low, high in boxes:
            _mark(picture, name, low[t] * SHOWN[0] / VIEW[0], high[t] * SHOWN[0] / VIEW[0])
        cv2.rectangle(picture, (0, 0), (84, 22), (17, 20, 26), -1)
        _write(picture, f"camera {list(SCENES).index(camid) + 1}", (9, 15), 0.42)
    return pictures


def _mark(picture: np.ndarray, name: str, low: np.ndarray, high: np.ndarray) -> None:
    colour = PEOPLE[name][1]
    left, top, right, bottom = (round(v) for v in (*low, *high))
    cv2.rectangle(picture, (left, top), (right, bottom), colour, 2, cv2.LINE_AA)
    cv2.rectangle(picture, (left - 1, top - 19), (left + 19, top), colour, -1)
    _write(picture, name, (left + 4, top - 4), 0.48)


def _write(picture: np.ndarray, text: str, place: tuple[int, int], scale: float) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)


def main() -> None:
    """Draw the cameras side by side and write the animation next to this file."""
    between = np.full((FRAMES, SHOWN[0], GAP, 3), (17, 20, 26), np.uint8)
    strips = [part for camid, walks in SCENES.items() for part in (film(camid, walks), between)][:-1]
    pictures = np.concatenate(strips, axis=2)
    moving = cv2.Animation()
    moving.frames = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]
    moving.durations = np.full(FRAMES, round(1000 / FRAMES_PER_SECOND))
    _, encoded = cv2.imencodeanimation(".webp", moving, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    Path(__file__).with_name("cameras.webp").write_bytes(encoded.tobytes())


if __name__ == "__main__":
    main()
