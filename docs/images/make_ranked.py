"""Draw `ranked.jpg`, ranked lists of a finished run: `python docs/images/make_ranked.py runs/m3d-walkers`.

Nobody chose the queries: they are those at the 90th, 50th and 20th percentile of average precision.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np

from vreid_jax import datasets, retrieval
from vreid_jax.datasets.walkers.scene import draw_tracklet

PERCENTILES = (90, 50, 20)
DEPTH = 9
CELL, EDGE, SPACE, CAPTION = (192, 96), 4, 8, 30  # (height, width), frame, gap and caption in pixels
RIGHT, WRONG, QUERY, PAPER, INK = (24, 140, 62), (206, 42, 42), (60, 66, 78), (255, 255, 255), (40, 44, 52)


def main() -> None:
    """Rank the run's stored features, check them against its scores, and write the picture next to this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", type=Path, help="of a run on walkers that was evaluated")
    parser.add_argument("--data_dir", help="where datasets are, if not in the usual place")
    arguments = parser.parse_args()

    config = json.loads((arguments.workdir / "config.json").read_text())
    builder = datasets.load_builder(config["data"]["name"], arguments.data_dir)
    known = {}
    for split in ("query", "gallery"):
        for example in builder.as_data_source(split):
            known[example["tracklet_id"].decode()] = (int(example["pid"]), int(example["camid"]))
    results = json.loads((arguments.workdir / "results.json").read_text())
    streams = [np.load(arguments.workdir / "features" / f"{name}.npz") for name in results["streams"]]
    ids = streams[0]["tracklet_ids"].tolist()
    units = [s["features"] / np.linalg.norm(s["features"], axis=1, keepdims=True) for s in streams]
    features = np.concatenate(units, axis=1)
    pids, camids = np.array([known[name] for name in ids]).T
    query = np.array([ids.index(t.tracklet_id) for t in builder.plan.query])
    distances = np.asarray(retrieval.pairwise_distance(features[query], features))
    ranking = retrieval.rank(distances, pids[query], pids, camids[query], camids)
    stored = results["protocols"]["walkers"]["mAP"]
    assert abs(ranking.mAP - stored) < 1e-3, f"the features give mAP {ranking.mAP}, the run says {stored}"

    large = dataclasses.replace(builder.plan.size, height=128, width=64)  # the same pictures, twice as large
    plan = dataclasses.replace(builder.plan, size=large)
    tracklets = {t.tracklet_id: t for t in plan.test}
    order = np.argsort(np.asarray(ranking.average_precision), kind="stable")
    rows = []
    for percentile in PERCENTILES:
        number = order[round(percentile / 100 * (len(order) - 1))]
        me = query[number]
        ignored = ((pids == pids[me]) & (camids == camids[me])) | (pids == -1)
        found = [row for row in np.argsort(distances[number], kind="stable") if not ignored[row]][:DEPTH]
        cells = [_cell(plan, tracklets[ids[me]], QUERY, f"query, camera {camids[me]}")]
        cells.append(np.full((cells[0].shape[0], 3 * SPACE, 3), PAPER, np.uint8))
        for rank, row in enumerate(found, 1):
            right = pids[row] == pids[me]
            cells.append(
                _cell(plan, tracklets[ids[row]], RIGHT if right else WRONG, f"{rank}, camera {camids[row]}", right)
            )
        rows.append(np.concatenate(cells, axis=1))
    picture = np.concatenate(rows)[:, :-SPACE]
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 88])
    Path(__file__).with_name("ranked.jpg").write_bytes(encoded.tobytes())


def _cell(plan, tracklet, colour, caption: str, right: bool | None = None) -> np.ndarray:
    """Return the middle frame of a tracklet in a coloured frame, with its caption and a tick or a cross."""
    frames = draw_tracklet(plan, tracklet)
    height, width = CELL
    cell = np.full((height + 2 * EDGE + CAPTION, width + 2 * EDGE + SPACE, 3), PAPER, np.uint8)
    cell[: height + 2 * EDGE, : width + 2 * EDGE] = colour
    middle = cv2.resize(frames[len(frames) // 2], (width, height), interpolation=cv2.INTER_CUBIC)
    cell[EDGE : EDGE + height, EDGE : EDGE + width] = middle
    if right is not None:
        corner = np.array([EDGE, EDGE])
        cv2.rectangle(cell, (0, 0), (24, 24), colour, -1)
        mark = [[(5, 12), (10, 17), (18, 6)]] if right else [[(6, 6), (17, 17)], [(17, 6), (6, 17)]]
        lines = [np.array(line) + corner // 4 for line in mark]
        cv2.polylines(cell, lines, False, PAPER, 2, cv2.LINE_AA)
    place = (2, height + 2 * EDGE + 16)
    cv2.putText(cell, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, INK, 1, cv2.LINE_AA)
    return cell


if __name__ == "__main__":
    main()
