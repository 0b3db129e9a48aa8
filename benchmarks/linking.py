"""How well tracklets are linked across cameras, on scenes whose identities are known, and how fast.

    vreid data scene --cameras=5 --people=12 --out=street
    python benchmarks/linking.py scenes street [--cameras=2,3,5] [--model=MODEL] [--tracks=tracks] [--json]
    python benchmarks/linking.py speed [--tracklets=1000,10000,100000] [--dimensions=256] [--json]

`scenes` embeds the tracks of the first cameras of every scene, once into galleries beside the videos, of whose names a
digest of video and tracks is a part, and links them as `vreid link` does. `--tracks=NAME` takes the files
`camera1.NAME.txt`, …: `tracks` are the true boxes. Columns, in percent:

* precision, recall, F1: of pairs of tracklets that are said to be one person; an unknown tracklet is in no pair. A tracklet
  is of the person with most of its boxes;
* IDF1: over the boxes of all cameras at once (Ristani et al., 2016, equation 11: identities are matched one to one so that
  most boxes agree; a box agrees with a true one at an intersection over union of a half);
* the share of unknown tracklets; the threshold, and how many pairs of two people, in one camera and in two, are within it;
  how many pairs of one person are, likewise.

`speed` links made-up vectors: 20 tracklets a person, cameras and times at random. Every size runs in a process of its own;
memory is its peak above what it held once the vectors were made. Compare within a run; seconds depend on the load.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RATE = 0.005  # false accepts, of the threshold: the default of `vreid link`
OVERLAP = 0.5  # intersection over union


def pairwise(found: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Return precision, recall and F1 of the pairs of N tracklets; `found` 0 and `true` 0 are in no pair."""
    same_found = (found[:, None] == found[None]) & (found[:, None] > 0)
    same_true = (true[:, None] == true[None]) & (true[:, None] > 0)
    upper = np.triu(np.ones_like(same_found), 1)
    both = int((same_found & same_true & upper).sum())
    precision = both / max(int((same_found & upper).sum()), 1)
    recall = both / max(int((same_true & upper).sum()), 1)
    return {"precision": precision, "recall": recall, "F1": 2 * precision * recall / max(precision + recall, 1e-12)}


def identity_f1(agreeing: np.ndarray, true_boxes: int, found_boxes: int) -> float:
    """Return IDF1 from the boxes [T, F] in which each true identity and each found one agree, and the counts of boxes."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-agreeing)
    return 2 * float(agreeing[rows, columns].sum()) / max(true_boxes + found_boxes, 1)


def read_boxes(path: Path) -> np.ndarray:
    """Return [B, 6] frame, id, x, y, width, height of a MOTChallenge file."""
    return np.loadtxt(path, delimiter=",", ndmin=2)[:, :6]


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return [A, B] the intersection over union of boxes x, y, width, height."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, :2] + boxes[:, None, 2:], others[None, :, :2] + others[None, :, 2:])
    common = np.maximum(high - low, 0).prod(2)
    return common / np.maximum(boxes[:, 2:].prod(1)[:, None] + others[:, 2:].prod(1)[None] - common, 1e-12)


@dataclasses.dataclass(frozen=True)
class Truth:
    """What a camera of a scene shows.

    Attributes:
      votes: by the id of a track, boxes by true identity, 0 for nobody's.
      agreeing: by (true identity, id of a track), boxes that agree.
      boxes: number of true ones.
    """

    votes: dict[int, dict[int, int]]
    agreeing: dict[tuple[int, int], int]
    boxes: int


def truth_of(folder: Path, camera: int, tracks: str) -> Truth:
    """Compare the tracks of a camera with the true ones."""
    identities = json.loads((folder / "scene.json").read_text())["tracks"][f"camera{camera}"]
    true, found = (read_boxes(folder / f"camera{camera}.{name}.txt") for name in ("tracks", tracks))
    votes: dict[int, dict[int, int]] = {}
    agreeing: dict[tuple[int, int], int] = {}
    for frame in np.unique(found[:, 0]):
        here, there = found[found[:, 0] == frame], true[true[:, 0] == frame]
        for one, row in zip(here, overlaps(here[:, 2:], there[:, 2:]), strict=True):
            near = [identities[str(int(there[place, 1]))] for place in np.flatnonzero(row >= OVERLAP)]
            best = identities[str(int(there[row.argmax(), 1]))] if near else 0
            of_track = votes.setdefault(int(one[1]), {})
            of_track[best] = of_track.get(best, 0) + 1
            for identity in near:
                agreeing[identity, int(one[1])] = agreeing.get((identity, int(one[1])), 0) + 1
    return Truth(votes, agreeing, len(true))


def embed_scene(folder: Path, cameras: int, tracks: str, model_name: str | None) -> list[Path]:
    """Embed the tracks of the first cameras into galleries, unless those of the same files are there, and return these."""
    from vreid_jax import inference
    from vreid_jax.search import embed_gallery, open_source

    model = inference.load(model_name)
    paths = []
    for camera in range(1, cameras + 1):
        video, boxes = folder / f"camera{camera}.webm", folder / f"camera{camera}.{tracks}.txt"
        stem = f"camera{camera}.{tracks}.{hashlib.sha256(video.read_bytes() + boxes.read_bytes()).hexdigest()[:8]}"
        out = folder / f"{stem}.{model.fingerprint[:6]}.parquet"
        if not out.exists():
            source = open_source(str(video), tracks=str(boxes), frames=folder / f"{stem}.frames", camera=camera)
            embed_gallery(model, source, out)
        paths.append(out)
    return paths


def measure_scene(folder: Path, paths: Sequence[Path], tracks: str) -> dict:
    """Link galleries of a scene and score the result."""
    from vreid_jax import linking, retrieval
    from vreid_jax.errors import InputError

    about = json.loads((folder / "scene.json").read_text())
    sightings = linking.open_sightings(paths)
    try:
        band = linking.find_band(sightings, RATE, no_overlap=about["apart"])
    except InputError as error:
        return {"scene": folder.name, "people": about["people"], "cameras": len(paths), "refused": str(error)}
    before = time.perf_counter()
    linked = linking.link(sightings, folder, band, linking.LinkSettings(no_overlap=about["apart"]))
    seconds = time.perf_counter() - before
    found = linked.columns["identity"]
    truths = {camera: truth_of(folder, camera, tracks) for camera in range(1, len(paths) + 1)}
    ids = [int(name.removeprefix("track")) for name in sightings.tracklet_ids.tolist()]
    votes = [truths[camera].votes[number] for camera, number in zip(sightings.camids.tolist(), ids, strict=True)]
    true = np.array([max(sorted(each), key=each.__getitem__) for each in votes])
    names = np.where(found > 0, found, found.max() + 1 + np.arange(len(found)))  # each unknown one is on its own
    agreeing = np.zeros((int(true.max()) + 1, int(names.max()) + 1))
    for name, camera, number in zip(names.tolist(), sightings.camids.tolist(), ids, strict=True):
        for (identity, track), boxes in truths[camera].agreeing.items():
            if track == number:
                agreeing[identity, name] += boxes
    total = sum(sum(each.values()) for each in votes)
    distances = retrieval.pairwise_distance(sightings.vectors, sightings.vectors, sightings.metric)
    upper = np.triu(np.ones_like(distances, bool), 1)
    same = (true[:, None] == true[None]) & (true > 0)[:, None]
    one_camera = sightings.camids[:, None] == sightings.camids[None]
    within = {}
    for people, which in (("two people", ~same), ("one person", same)):
        for place, where in (("one camera", one_camera), ("two cameras", ~one_camera)):
            chosen = distances[which & where & upper]
            within[f"{people}, {place}"] = float((chosen <= band.threshold).mean()) if len(chosen) else float("nan")
    return {
        "scene": folder.name,
        "people": about["people"],
        "cameras": len(paths),
        "tracklets": len(found),
        **pairwise(found, true),
        "IDF1": identity_f1(agreeing, sum(truth.boxes for truth in truths.values()), total),
        "unknown": float((found == 0).mean()),
        "threshold": band.threshold,
        "within": within,
        "origin": band.origin,
        "seconds": seconds,
    }


def scenes(flags: argparse.Namespace) -> list[dict]:
    """Measure all scenes with every number of cameras."""
    rows = []
    for folder in map(Path, flags.folder):
        there = len(json.loads((folder / "scene.json").read_text())["cameras"])
        numbers = [int(each) for each in flags.cameras.split(",")] if flags.cameras else [there]
        for cameras in [number for number in numbers if number <= there]:
            paths = embed_scene(folder, cameras, flags.tracks, flags.model)
            rows.append(measure_scene(folder, paths, flags.tracks))
    return rows


def made_up(tracklets: int, dimensions: int):
    """Return sightings of 20 tracklets a person around a direction of their own, in five cameras."""
    from vreid_jax.linking import Sightings

    rng = np.random.default_rng(0)
    people = max(tracklets // 20, 1)
    centres = rng.standard_normal((people, dimensions), np.float32)
    pids = np.arange(tracklets) % people
    vectors = centres[pids]
    for start in range(0, tracklets, 4096):
        vectors[start : start + 4096] += rng.standard_normal(vectors[start : start + 4096].shape, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    start = pids * 5.0 + (np.arange(tracklets) // people) * (people * 5.0 + 60)
    about = {"fingerprint": "f", "model": "made up", "metric": "cosine", "input": "made up"}
    cameras = rng.integers(0, 5, tracklets)
    names = np.array([f"track{number}" for number in range(tracklets)])
    times = np.stack([start, start + 30], 1)
    galleries = np.zeros(tracklets, int)
    paths = (Path("made_up.parquet"),)
    return Sightings(
        vectors, galleries, names, cameras + 1, cameras, times, paths, (about,), ("made up",), "common"
    ), pids + 1


def speed_of(tracklets: int, dimensions: int) -> dict:
    """Link made-up tracklets once; return seconds, identities a second, memory and what was found."""
    from vreid_jax import linking

    sightings, true = made_up(tracklets, dimensions)
    linking.link(*_few(dimensions))  # compile
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before, processor = time.perf_counter(), time.process_time()
    band = linking.find_band(sightings, RATE)
    found = linking.link(sightings, Path("."), band)
    seconds, processor = time.perf_counter() - before, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    identity, people = found.columns["identity"], found.summary()["identities"]
    pairs = np.unique(np.stack([identity, true])[:, identity > 0], axis=1).shape[1]
    return {
        "tracklets": tracklets,
        "people": len(np.unique(true)),
        "identities": people,
        "pure": pairs == people,
        "seconds": seconds,
        "processor_seconds": processor,
        "tracklets_per_second": tracklets / seconds,
        "identities_per_second": people / seconds,
        "GB_above": (peak - held) / 1e6,
        "GB_vectors": sightings.vectors.nbytes / 1e9,
    }


def _few(dimensions: int):
    from vreid_jax import linking

    return made_up(100, dimensions)[0], Path("."), linking.given_band(0.5)


def speed(flags: argparse.Namespace) -> list[dict]:
    """Measure every size in a process of its own."""
    rows = []
    for tracklets in flags.tracklets.split(","):
        command = [sys.executable, __file__, "one", f"--tracklets={tracklets}", f"--dimensions={flags.dimensions}"]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return rows


def main() -> None:
    """Measure what the command line says, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("scenes")
    part.add_argument("folder", nargs="+")
    part.add_argument("--cameras", help="numbers of cameras, the first ones of a scene; default: all")
    part.add_argument("--model", help="as `vreid embed --model`; default: the model in the box")
    part.add_argument("--tracks", default="tracks")
    for name in ("speed", "one"):
        part = parts.add_parser(name)
        part.add_argument("--tracklets", default="1000,10000,100000")
        part.add_argument("--dimensions", type=int, default=256)
    for part in parts.choices.values():
        part.add_argument("--json", action="store_true")
    flags = parser.parse_args()
    if flags.part == "one":
        print(json.dumps(speed_of(int(flags.tracklets), flags.dimensions)))
        return
    rows = {"scenes": scenes, "speed": speed}[flags.part](flags)
    for row in rows:
        print(json.dumps(row) if flags.json else "\n".join(_lines(row)), flush=True)


def _lines(row: dict) -> list[str]:
    lines = []
    for key, value in row.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        lines.append(f"{key:22} {shown}")
    return [*lines, ""]


if __name__ == "__main__":
    main()
