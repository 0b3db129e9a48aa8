"""Contact sheets: labelled rows of frames, and the rows that show what a dataset contains."""

from collections.abc import Sequence

import cv2
import numpy as np

from vreid_jax.datasets.walkers.plan import Plan, Tracklet
from vreid_jax.datasets.walkers.scene import draw_tracklet
from vreid_jax.errors import InputError

Row = tuple[str, Sequence[np.ndarray]]  # label, and frames uint8 [H, W, 3]; frames may differ in size

_LABEL = 18  # pixels of a row's caption


def contact_sheet(rows: Sequence[Row], columns: int = 16, cell_height: int = 128) -> np.ndarray:
    """Lays rows of frames out under their labels.

    Args:
      rows: label and frames uint8 `[H, W, 3]` RGB; of more than `columns` frames the first are shown.
      columns: frames in a row.
      cell_height: height of a frame on the sheet, pixels; its width follows the widest frame.

    Returns:
      uint8 `[H, W, 3]`, RGB.

    Raises:
      InputError: there is nothing to show.
    """
    shown = [(label, list(frames)[:columns]) for label, frames in rows]
    ratios = [f.shape[1] / f.shape[0] for _, frames in shown for f in frames]
    if not ratios:
        raise InputError("there are no frames to show on the contact sheet")
    cell_width = max(8, round(cell_height * min(max(ratios), 2.0)))
    caption = max(8 * len(label) for label, _ in shown)  # more than OpenCV takes for it
    width = max(caption, max(len(frames) for _, frames in shown) * (cell_width + 2))
    sheet = np.full((len(shown) * (cell_height + _LABEL), width, 3), 255, np.uint8)
    for r, (label, frames) in enumerate(shown):
        top = r * (cell_height + _LABEL)
        cv2.putText(sheet, label, (3, top + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
        for c, frame in enumerate(frames):
            left = c * (cell_width + 2)
            cell = _fit(frame, cell_height, cell_width)
            sheet[top + _LABEL : top + _LABEL + cell.shape[0], left : left + cell.shape[1]] = cell
    return sheet


def as_png(sheet: np.ndarray) -> bytes:
    """A picture, uint8 `[H, W, 3]` RGB, as the content of a PNG file, e.g. for a notebook to show."""
    return cv2.imencode(".png", sheet[..., ::-1])[1].tobytes()


def _fit(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    scale = min(height / frame.shape[0], width / frame.shape[1])
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(frame, size, interpolation=way)


def random_rows(builder, split: str, tracklets: int, seed: int = 0, whole: bool = False) -> list[Row]:
    """Rows of tracklets drawn at random from a split of a prepared dataset, frames spread over the tracklet, or all."""
    if split not in builder.info.splits:
        raise InputError(f"the dataset has no split {split!r}; it has {', '.join(builder.info.splits)}")
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


def walkers_rows(plan: Plan, seed: int = 0, identities: int = 3, pairs: int = 3) -> list[Row]:
    """Rows that show each thing walkers is about, from the test split: consecutive frames from a tracklet's start."""
    rng = np.random.default_rng(seed)
    paired = {pid for pair in plan.twins for pid in pair}
    clean = [t for t in plan.test if not (t.occluded or t.crossed or t.lost) and t.pid > 0]
    rows: list[Row] = []

    def add(what: str, tracklet: Tracklet) -> None:
        gait = plan.gaits.get(tracklet.pid)
        stride = f", a stride in {1 / gait.frequency:.1f} frames" if gait else ""
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
