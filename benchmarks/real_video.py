"""How well models tell real people apart: both halves of every track of one video, beside colours and no training.

    python benchmarks/real_video.py vtest.avi vtest_tracks.txt [--model=MODEL …] [--json]

The first half of a track asks (camera 1), the second half answers (camera 2). A row for each model, which is whatever
`vreid embed --model` takes, for the model in the box, for the network of the first of them with fresh weights (mean of
`--untrained` seeds) and for colour histograms; of several models also mean ± standard deviation. Columns, in percent:

* mAP, rank-1: of all people, and of `held out`: the half that `vreid data video --halves-as-cameras` keeps for testing;
* nearest: all halves in one gallery, as on its page: how often the nearest tracklet is the other half of the person.

The tracks are automatic: some boxes cover two people, and somebody who left and came back has two tracks, so that 100 %
is out of reach. `--training-tracks=FILE` writes the tracks of the people that are not held out and measures nothing: what
may be adapted to, where `held out` is to be a test.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

COLUMNS = {
    "mAP": ("all", "mAP"),
    "rank-1": ("all", "rank1"),
    "nearest": ("all", "nearest"),
    "held out: mAP": ("held_out", "mAP"),
    "rank-1 ": ("held_out", "rank1"),
    "nearest ": ("held_out", "nearest"),
}
SIZE = 64, 32  # of the frames whose colours are counted


def score(vectors, metric: str, pids, camids) -> dict[str, float]:
    """Return `mAP`, `rank1` and `nearest`, fractions, of the halves of tracks.

    Args:
      vectors: `[N, D]`, of both halves of N / 2 tracks.
      metric: of `retrieval.pairwise_distance`.
      pids: `[N]` ids of the tracks.
      camids: `[N]` 1 for a first half, 2 for a second.
    """
    import numpy as np

    from vreid_jax import retrieval

    distances = np.array(retrieval.pairwise_distance(vectors, vectors, metric))
    ask, answer = camids == 1, camids == 2
    ranking = retrieval.rank(distances[np.ix_(ask, answer)], pids[ask], pids[answer], camids[ask], camids[answer])
    np.fill_diagonal(distances, np.inf)
    nearest = pids[distances.argmin(1)] == pids
    return {"mAP": float(ranking.mAP), "rank1": float(ranking.cmc[0]), "nearest": float(nearest.mean())}


def measure(source, embed: Callable, metric: str) -> dict:
    """Return the scores of `all` and of the `held_out` people, and the seconds that the vectors took."""
    import numpy as np

    started = time.perf_counter()
    vectors = embed(source.tracklets)
    seconds = time.perf_counter() - started
    parts = {"all": np.full(len(vectors), True), "held_out": source.splits != "train"}
    pids, camids = source.tracklets.pids, source.tracklets.camids
    found = {name: score(vectors[rows], metric, pids[rows], camids[rows]) for name, rows in parts.items()}
    return {**found, "seconds": seconds}


def untrained(model, seeds: int) -> list:
    """Return models with fresh weights, of the seeds from 0 on."""
    import jax
    import numpy as np

    length = max(stream.clip.length for stream in model.config.evaluation.streams.values())
    clips = np.zeros((1, length, model.config.data.height, model.config.data.width, 3), np.float32)
    quick: dict = {"xla_backend_optimization_level": 0}  # it runs a few times only, so compile fast
    init = jax.jit(model.module.init, compiler_options=quick)
    return [dataclasses.replace(model, variables=init(jax.random.key(seed), clips)) for seed in range(seeds)]


def mean(measured: list[dict]) -> dict:
    """Return the mean of some measurements, and under `std` their standard deviation."""
    import numpy as np

    both = {}
    for name, reduce in (("mean", np.mean), ("std", lambda values: np.std(values, ddof=1))):
        both[name] = {
            part: {key: float(reduce([one[part][key] for one in measured])) for key in measured[0][part]}
            for part in ("all", "held_out")
        }
    return {**both["mean"], "seconds": float(np.mean([one["seconds"] for one in measured])), "std": both["std"]}


def measure_all(source, paths: list[str], seeds: int, box: bool) -> dict[str, dict]:
    """Return a measurement for each row of the table."""
    import vreid_jax
    from vreid_jax.evaluation.features import color_histogram

    rows, models = {}, {path: vreid_jax.load(path) for path in paths}
    given = len(models)
    if box:
        models["model in the box"] = vreid_jax.load()
    for name, model in models.items():
        rows[name] = measure(source, model.embed_tracklets, model.metric)
        print(f"{name}: mAP {100 * rows[name]['all']['mAP']:.1f}", file=sys.stderr)
    if given > 1:
        rows[f"mean of the {given}"] = mean([rows[path] for path in paths])
    if models and seeds:
        first = next(iter(models.values()))
        fresh = [measure(source, model.embed_tracklets, model.metric) for model in untrained(first, seeds)]
        rows[f"untrained, {seeds} seeds"] = mean(fresh) if seeds > 1 else fresh[0]
    rows["colour histogram"] = measure(source, lambda tracklets: color_histogram(tracklets, SIZE), "euclidean")
    return rows


def table(rows: dict[str, dict], counts: str) -> str:
    """Return the rows as Markdown, in percent."""
    lines = [counts, "", f"| | {' | '.join(COLUMNS)} | s |", "|---|" + "---:|" * (len(COLUMNS) + 1)]
    for name, row in rows.items():
        cells = [f"{100 * row[part][key]:.1f}" for part, key in COLUMNS.values()]
        if "std" in row:
            spread = [f" ± {100 * row['std'][part][key]:.1f}" for part, key in COLUMNS.values()]
            cells = [cell + more for cell, more in zip(cells, spread, strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['seconds']:.1f} |")
    return "\n".join(lines)


def write_training_tracks(tracks: str, pids: set[int], out: Path) -> None:
    """Write the lines of the tracks with these ids."""
    from vreid_jax.files import atomic_file

    lines = Path(tracks).read_text().splitlines(keepends=True)
    with atomic_file(out) as half:
        half.write_text("".join(line for line in lines if line.strip() and float(line.split(",")[1]) in pids))


def main() -> int:
    """Cut the video, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="video file")
    parser.add_argument("tracks", help="its tracks, MOTChallenge text with ids")
    parser.add_argument("--model", action="append", default=[], help="workdir, .safetensors or hf://; may be repeated")
    parser.add_argument("--no-box", action="store_true", help="leave the model in the box out")
    parser.add_argument("--untrained", type=int, default=3, help="seeds of the network with fresh weights; 0: none")
    parser.add_argument("--min-length", type=int, default=8, help="leave tracks with fewer boxes out")
    parser.add_argument("--seed", type=int, default=0, help="which half of the people is held out")
    parser.add_argument("--training-tracks", help="file for the tracks of the others; nothing is measured")
    parser.add_argument("--json", action="store_true", help="print JSON, fractions instead of percent")
    flags = parser.parse_args()

    from vreid_jax.datasets.video.tracks import cut_tracklets
    from vreid_jax.runtime import setup_process
    from vreid_jax.runtime.exit_codes import exit_codes
    from vreid_jax.search import open_source

    setup_process(compilation_cache=False)
    with exit_codes("real_video", "interrupted"), tempfile.TemporaryDirectory() as scratch:
        people = Path(scratch) / "people"
        cut = cut_tracklets(
            flags.video, flags.tracks, people, min_length=flags.min_length, seed=flags.seed, progress=False
        )
        source = open_source(str(people))
        if flags.training_tracks:
            training = set(source.tracklets.pids[source.splits == "train"].tolist())
            write_training_tracks(flags.tracks, training, Path(flags.training_tracks))
            print(f"{flags.training_tracks}: {len(training)} tracks")
            return 0
        rows = measure_all(source, flags.model, flags.untrained, not flags.no_box)
        counts = (
            f"{len(source.tracklets)} tracklets of {cut.train_identities + cut.test_identities} people, "
            f"{cut.test_identities} of them held out, {cut.frames} frames; in percent"
        )
        print(json.dumps({"about": counts, "rows": rows}, indent=1) if flags.json else table(rows, counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
