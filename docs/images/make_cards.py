"""Draw the pictures of the site's cards: `python docs/images/make_cards.py`.

`card_twins.jpg` and `card_data.jpg` are walkers, drawn anew; the others are cut out of pictures that the pages show whole.
"""

from pathlib import Path

import cv2
import numpy as np

from vreid_jax.datasets.walkers.plan import Size, make_plan
from vreid_jax.datasets.walkers.scene import draw_tracklet

FOLDER = Path(__file__).parent
WIDTH, HEIGHT = 640, 360
PLAN = make_plan(Size(height=256, width=128, train_identities=8, cameras_per_identity=(4, 6), shortest=24))


def film_strip(frames, height: int) -> np.ndarray:
    """Frames side by side, `[height, WIDTH, 3]`."""
    edges = np.linspace(0, WIDTH, len(frames) + 1).round().astype(int)
    cells = []
    for frame, width in zip(frames, np.diff(edges), strict=True):
        scale = max(height / frame.shape[0], width / frame.shape[1])
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
        cells.append(frame[top : top + height, left : left + width])
    return np.concatenate(cells, axis=1)


def twins() -> np.ndarray:
    """Two people in the same clothes and the same camera, who differ in gait alone; every second frame."""
    for pair in PLAN.twins:
        seen = [
            {t.camid: t for t in PLAN.test if t.pid == pid and not (t.occluded or t.crossed or t.lost)} for pid in pair
        ]
        shared = sorted(set(seen[0]) & set(seen[1]))
        if shared:
            rows = [draw_tracklet(PLAN, tracklets[shared[0]])[:14:2] for tracklets in seen]
            return np.concatenate([film_strip(row, HEIGHT // 2) for row in rows])
    raise AssertionError("the plan has no twins in one camera")


def data() -> np.ndarray:
    """Rows of one tracklet each: one that something occludes, and one that somebody crosses."""
    occluded = [t for t in PLAN.test if t.occluded and t.pid > 0]
    crossed = [t for t in PLAN.test if t.crossed and t.pid > 0 and not t.occluded]
    rows = [draw_tracklet(PLAN, t) for t in (occluded[1], crossed[2])]
    chosen = [frames[np.linspace(0, len(frames) - 1, 7).round().astype(int)] for frames in rows]
    return np.concatenate([film_strip(row, HEIGHT // 2) for row in chosen])


def cut(name: str, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """Return a part of a committed picture, as large as a card."""
    picture = cv2.imread(str(FOLDER / name))[top:bottom, left:right, ::-1]
    return cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def whole(name: str, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """Return a part of a committed picture on white, so that nothing of it is lost to the form of a card."""
    picture = cv2.imread(str(FOLDER / name))[top:bottom, left:right, ::-1]
    scale = HEIGHT / picture.shape[0]
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    card = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    start = (WIDTH - picture.shape[1]) // 2
    card[:, start : start + picture.shape[1]] = picture
    return card


def main() -> None:
    """Write the pictures next to this file."""
    pictures = {
        "card_twins.jpg": twins(),
        "card_data.jpg": data(),
        "card_search.jpg": cut("ranked.jpg", 0, 230, 808, 685),
        "card_systems.jpg": cut("part_maps.jpg", 0, 20, 528, 317),
        "card_own.jpg": cut("attention.jpg", 0, 440, 686, 826),
        "card_measured.jpg": whole("corruption.png", 0, 0, 576, 456),
    }
    for name, picture in pictures.items():
        cv2.imwrite(str(FOLDER / name), np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
