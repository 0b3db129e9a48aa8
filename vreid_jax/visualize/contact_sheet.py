"""Contact sheets, labelled rows of frames, and rows that show what a dataset contains."""

from collections.abc import Sequence

import cv2
import numpy as np

from vreid_jax.data import check_split
from vreid_jax.datasets.walkers.plan import Plan, Tracklet
from vreid_jax.datasets.walkers.scene import draw_tracklet
from vreid_jax.datasets.walkers.wild_plan import WildPlan
from vreid_jax.datasets.walkers.wild_scene import draw_wild_tracklet
from vreid_jax.errors import InputError

Row = tuple[str, Sequence[np.ndarray]]  # label, and frames uint8 [H, W, 3]; frames may differ in size

_LABEL = 18  # pixels of a row's caption
_FONT, _SCALE, _THICK, _LEFT = cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1, 3


def contact_sheet(rows: Sequence[Row], columns: int = 16, cell_height: int = 128) -> np.ndarray:
    """Lay rows of frames out under their labels.

    Args:
      rows: label and frames uint8 `[H, W, 3]` RGB; only the first `columns` frames are shown.
      columns: frames in a row.
      cell_height: height of a frame on the sheet, pixels; its width follows the widest frame.

    Returns:
      uint8 `[H, W, 3]`, RGB.

    Raises:
      InputError: when there is nothing to show.
    """
    shown = [(label, list(frames)[:columns]) for label, frames in rows]
    ratios = [f.shape[1] / f.shape[0] for _, frames in shown for f in frames]
    if not ratios:
        raise InputError("there are no frames to show on the contact sheet")
    cell_width = max(8, round(cell_height * min(max(ratios), 2.0)))
    caption = max(cv2.getTextSize(label, _FONT, _SCALE, _THICK)[0][0] for label, _ in shown) + 2 * _LEFT
    width = max(caption, max(len(frames) for _, frames in shown) * (cell_width + 2))
    sheet = np.full((len(shown) * (cell_height + _LABEL), width, 3), 255, np.uint8)
    for r, (label, frames) in enumerate(shown):
        top = r * (cell_height + _LABEL)
        cv2.putText(sheet, label, (_LEFT, top + 13), _FONT, _SCALE, (30, 30, 30), _THICK, cv2.LINE_AA)
        for c, frame in enumerate(frames):
            left = c * (cell_width + 2)
            cell = _fit(frame, cell_height, cell_width)
            sheet[top + _LABEL : top + _LABEL + cell.shape[0], left : left + cell.shape[1]] = cell
    return sheet


def as_png(sheet: np.ndarray) -> bytes:
    """Return a picture, uint8 `[H, W, 3]` RGB, as the content of a PNG file, e.g. for a notebook."""
    return cv2.imencode(".png", sheet[..., ::-1])[1].tobytes()


def _fit(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a frame resized to fit a cell, with its aspect ratio kept."""
    scale = min(height / frame.shape[0], width / frame.shape[1])
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(frame, size, interpolation=way)


def random_rows(builder, split: str, tracklets: int, seed: int = 0, whole: bool = False) -> list[Row]:
    """Return rows of random tracklets of a dataset.

    Args:
      builder: builder of a prepared dataset.
      split: split to draw from.
      tracklets: how many to draw.
      seed: seed of the choice.
      whole: whether to show all frames instead of 16 spread over the tracklet.

    Raises:
      InputError: when the dataset has no such split.
    """
    check_split(builder, split)
    source = builder.as_data_source(split)
    chosen = np.random.default_rng(seed).permutation(len(source))[:tracklets]
    rows = []
    for index in sorted(int(i) for i in chosen):
        example = source[index]
        frames = list(example["frames"])
        spread = np.unique(np.linspace(0, len(frames) - 1, 16).round().astype(int))
        name = example["tracklet_id"].decode()
        label = f"{split} {name}: pid {example['pid']}, camera {example['camid']}, {len(frames)} frames"
        rows.append((label, frames if whole else [frames[i] for i in spread]))
    return rows


def wild_rows(plan: WildPlan, seed: int = 0, identities: int = 12) -> list[Row]:
    """Return a row of frames for each of some test identities of walkers/wild, from all of their cameras.

    Args:
      plan: plan of the dataset.
      seed: seed of the choice.
      identities: how many identities to show.
    """
    pids = sorted({tracklet.pid for tracklet in plan.test})
    rows: list[Row] = []
    for pid in np.random.default_rng(seed).permutation(pids)[:identities]:
        seen = [tracklet for tracklet in plan.test if tracklet.pid == pid]
        frames = [frame for tracklet in seen for frame in draw_wild_tracklet(plan, tracklet)[:: len(seen) // 2 or 1]]
        rows.append((f"pid {pid}, cameras {', '.join(str(tracklet.camid) for tracklet in seen)}", frames))
    return rows


def walkers_rows(plan: Plan, seed: int = 0, identities: int = 3, pairs: int = 3) -> list[Row]:
    """Return rows that show each phenomenon in walkers, from the test split, with all frames of each tracklet.

    Args:
      plan: plan of the dataset.
      seed: seed of the choice.
      identities: how many identities to show, with up to three tracklets each.
      pairs: how many pairs of gait twins to show.
    """
    rng = np.random.default_rng(seed)
    paired = {pid for pair in plan.twins for pid in pair}
    clean = [t for t in plan.test if not (t.occluded or t.crossed or t.lost) and t.pid > 0]
    rows: list[Row] = []

    def add(what: str, tracklet: Tracklet) -> None:
        gait = plan.gaits.get(tracklet.pid)
        stride = f", {1 / gait.frequency:.1f} frames per stride" if gait else ""
        rows.append(
            (f"{what}: pid {tracklet.pid}, camera {tracklet.camid}{stride}", list(draw_tracklet(plan, tracklet)))
        )

    single = sorted({t.pid for t in clean} - paired)
    for pid in rng.permutation(single)[:identities]:
        for tracklet in [t for t in clean if t.pid == pid][:3]:
            add("identity", tracklet)
    wanted = len(rows) + 2 * pairs
    for first, second in rng.permutation(np.array(plan.twins).reshape(-1, 2)):
        if len(rows) >= wanted:
            break
        for camid in sorted({t.camid for t in plan.test if t.pid == first}):
            seen = [[t for t in clean if (t.pid, t.camid) == (pid, camid)] for pid in (first, second)]
            if all(seen):
                for tracklets in seen:
                    add("gait twin", tracklets[0])
                break
    for what, chosen in (
        ("occlusion", [t for t in plan.test if t.occluded]),
        ("crossing", [t for t in plan.test if t.crossed]),
        ("tracking failure", [t for t in plan.test if t.lost]),
        ("distractor", [t for t in plan.test if t.pid == 0]),
        ("junk", [t for t in plan.test if t.pid == -1]),
    ):
        for i in rng.permutation(len(chosen))[:2]:
            add(what, chosen[i])
    return rows
