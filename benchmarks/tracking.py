"""How well people are followed: IDF1 and MOTA on a scene of `vreid data scene`, from true boxes or a detector's.

    python -m pip install motmetrics
    vreid data scene --out=street
    python benchmarks/tracking.py street --model=none
    python benchmarks/tracking.py street --boxes=hog --only=camera3

With `--boxes=truth` (the default) the tracker gets the true boxes, of which a share is left out and whose edges are off by
a share of the box's size: what is lost is then lost by association. Scores count a person who leaves and comes back as another
track, as in `cameraK.tracks.txt`; `by person` is the IDF1 when it should be the same.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import vreid_jax
from vreid_jax.datasets.video.track_file import read_tracks
from vreid_jax.tracking import TrackSettings, track_video

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("idf1", "mota", "recall", "precision", "num_switches")
LEAST_VISIBLE = 0.3  # of whoever should be found


def main() -> None:
    """Print a row a camera, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path, help="folder that `vreid data scene` has made")
    parser.add_argument("--boxes", default="truth", help="truth, or a detector of `vreid track`")
    parser.add_argument("--drop", type=float, default=0.1, help="share of the true boxes that is left out")
    parser.add_argument("--jitter", type=float, default=0.05, help="error of the true boxes, as a share of their size")
    parser.add_argument("--model", default="", help="for appearance; default: the one in the box; none: without")
    parser.add_argument("--only", help="name of one camera; default: all")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    model = None if flags.model == "none" else vreid_jax.load(flags.model or None)
    scene = json.loads((flags.scene / "scene.json").read_text())
    print(
        f"{'camera':10}{'IDF1':>7}{'by person':>11}{'MOTA':>7}{'recall':>8}{'precision':>11}{'switches':>10}{'frames/s':>10}"
    )
    kept = []
    for camera in scene["cameras"]:
        if flags.only not in (None, camera["name"]):
            continue
        stem = flags.scene / camera["name"]
        detector = flags.boxes
        if flags.boxes == "truth":
            detector = Disturbed(stem.with_suffix(".gt.txt"), flags.drop, flags.jitter, [flags.seed, camera["camid"]])
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "tracks.txt"
            began = time.process_time()
            done = track_video(
                str(flags.scene / camera["video"]), out, detector=detector, model=model, settings=TrackSettings()
            )
            seconds = time.process_time() - began
            found = _frame_of(out)
        truth, people = _frame_of(stem.with_suffix(".tracks.txt")), _visible(stem.with_suffix(".gt.txt"))
        kept.append((camera["name"], truth, people, found))
        _print(camera["name"], truth, people, found, done.frames / seconds)
    shift = 10**6
    whole = [
        pd.concat([table.rename(index=lambda i, n=n: i + n * shift, level=0).rename(index=lambda i, n=n: i + n * shift, level=1)
                   for n, table in enumerate(tables)])
        for tables in (list(zip(*kept, strict=True))[1:])
    ]  # fmt: skip
    _print("all", *whole, float("nan"))


class Disturbed:
    """A detector that knows the true boxes of a video, and gives most of them, roughly; it is called frame by frame."""

    def __init__(self, truth: Path, drop: float, jitter: float, seed: list[int]):
        """Read the boxes of everybody of whom three tenths are visible."""
        self._boxes: dict[int, list[list[float]]] = {}
        for row in _visible(truth).reset_index().itertuples():
            self._boxes.setdefault(row.FrameId, []).append([row.X, row.Y, row.Width, row.Height])
        self._drop, self._jitter, self._random, self._frame = drop, jitter, np.random.default_rng(seed), 0

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes and scores of the next frame."""
        self._frame += 1
        boxes = np.array(self._boxes.get(self._frame, [])).reshape(-1, 4)
        boxes = boxes[self._random.random(len(boxes)) >= self._drop]
        boxes = boxes + self._random.normal(0, self._jitter, boxes.shape) * boxes[:, [2, 3, 2, 3]]
        return boxes, np.full(len(boxes), 0.9)


def _frame_of(path: Path) -> pd.DataFrame:
    rows = [(b.frame, b.track, b.left, b.top, b.width, b.height, 1.0) for b in read_tracks(path)]
    return _table(rows)


def _visible(path: Path) -> pd.DataFrame:
    lines = [list(map(float, line.split(","))) for line in path.read_text().splitlines()]
    return _table([(int(v[0]), int(v[1]), *v[2:6], 1.0) for v in lines if v[8] >= LEAST_VISIBLE])


def _table(rows: list) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame(rows, columns=["FrameId", "Id", "X", "Y", "Width", "Height", "Confidence"])
    return table.set_index(["FrameId", "Id"]).sort_index()


def _print(name: str, truth: pd.DataFrame, people: pd.DataFrame, found: pd.DataFrame, speed: float) -> None:
    import motmetrics

    if not hasattr(np, "asfarray"):  # NumPy 2 has dropped it; motmetrics 1.4 calls it
        np.asfarray = lambda values: np.asarray(values, np.float64)
    host = motmetrics.metrics.create()
    compared = motmetrics.utils.compare_to_groundtruth(truth, found, "iou", distth=0.5)
    values = host.compute(compared, metrics=list(NAMES), name=name).iloc[0]
    by_person = host.compute(
        motmetrics.utils.compare_to_groundtruth(people, found, "iou", distth=0.5), metrics=["idf1"], name=name
    ).iloc[0]
    print(
        f"{name:10}{values.idf1:7.3f}{by_person.idf1:11.3f}{values.mota:7.3f}{values.recall:8.3f}{values.precision:11.3f}"
        f"{int(values.num_switches):10d}{speed:10.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
