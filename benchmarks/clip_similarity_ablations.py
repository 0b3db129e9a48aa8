"""Reproduce what the clip-similarity paper measures of its features alone: Figures 3 and 4, and Table 6.

    python benchmarks/clip_similarity_ablations.py --config=configs/clip_similarity.py:DATASET --out=runs/clip-table \
        --seeds=0,1,2 [--lengths=4,8,16] [--feature-steps=1000]

For each seed an I3D is trained on clips of each length. A tracklet is then one clip of another length, whose frames are
sampled as Table 1 of the paper says (Figure 3), or the mean of several clips (Figure 4, Table 6). Resumable: finished
trainings and scores are read; those of another configuration, or of another training than that which is there, are
refused. With the `--out` of `clip_similarity_table.py` the I3D of that table is that of length 4 here. Writes
`ablations.md` and `ablations.json`: mean ± standard deviation over the seeds.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from clip_similarity_table import (
    Score,
    add_arguments,
    configure,
    note_run,
    of_features,
    percent,
    read_scores,
    trained,
    weights_of,
    write,
)
from walkers_runs import check_run, whole_numbers

from vreid_jax import evaluation
from vreid_jax.evaluation.distances import FeatureDistances
from vreid_jax.evaluation.features import extract_stream
from vreid_jax.experiment.scoring import restore_variables
from vreid_jax.experiment.setup import Setup
from vreid_jax.runtime import setup_process
from vreid_jax.runtime.exit_codes import exit_codes

SAMPLING = {"consec": "single_consecutive", "random": "single_random", "evenly": "single_evenly"}
TEST_LENGTHS = (4, 8, 16, 32)
CLIPS = (1, 2, 4, 8, 16)
PAPER_TABLE_6 = {  # M -> mAP on MARS with L = 4, 8, 16
    1: (63.3, 68.5, 69.8),
    2: (70.1, 73.0, 72.9),
    4: (74.5, 74.9, 73.7),
    8: (74.9, 75.0, 73.7),
}
Scores = dict[str, dict[str, Score]]  # seed -> what was measured -> scores


def features_run(arguments, seed: int, length: int) -> tuple[str, dict]:
    """Return the name and the fields of the run that trains I3D on clips of so many frames."""
    name = f"features-seed{seed}" if length == 4 else f"features-l{length}-seed{seed}"
    fields = ("model.clip_length", "phases.features.clip.length", "evaluation.streams.clips.clip.length")
    return name, {**of_features(arguments, seed), **dict.fromkeys(fields, length)}


def extracted(setup: Setup, variables, average: bool, **clip) -> np.ndarray:
    """Return the features of the test tracklets: [N, D], or [N, M, D] of clips that stay apart."""
    ((name, stream),) = setup.settings.evaluation.streams.items()
    stream = dataclasses.replace(stream, clip=dataclasses.replace(stream.clip, **clip), average=average)
    return extract_stream(setup.network, variables, setup.test.tracklets, stream, setup.extraction, name=name)


def scored(setup: Setup, features: np.ndarray) -> Score:
    """Return mAP and rank-1 of Euclidean distances in percent, under the dataset's first protocol."""
    protocols = setup.protocols[:1]
    return percent(evaluation.score(setup.test, FeatureDistances(features, "euclidean"), protocols)[protocols[0]])


def measure(arguments, seed: int, length: int, content: dict, file: Path) -> Iterator[None]:
    """Fill `content`, which `file` holds, with all that is measured of the I3D of one length, and yield after each.

    Raises:
      InputError: when that I3D was trained with another configuration, or again since some of it was measured.
    """
    found = content["scores"].setdefault(str(seed), {})
    run, fields = features_run(arguments, seed, length)
    config = configure(arguments, fields)
    check_run(arguments.out / run, config)
    wanted = [f"L_train {length}, {name}, L_test {test}" for name in SAMPLING for test in TEST_LENGTHS]
    wanted += [f"L_train {length}, all"]
    means = [f"L {length}, M {m}, {norm}" for m in CLIPS for norm in ("no L2", "L2")]
    complete = all(name in found for name in (*wanted, *means))
    if complete and not (arguments.out / run / "done").exists():
        note_run(content, file, run, config, None)
        return
    setup = trained(arguments, run, fields)
    note_run(content, file, run, config, weights_of(setup))
    if complete:
        return
    variables, _ = restore_variables(setup)
    for name in wanted:
        if name not in found:
            _, sampling, *rest = name.split(", ")
            frames = int(rest[0].split()[1]) if rest else 4
            kind = SAMPLING.get(sampling, "single_all")
            found[name] = scored(setup, extracted(setup, variables, True, kind=kind, length=frames))
            yield
    for m in CLIPS:
        names = [name for name in means if f", M {m}," in name]
        if any(name not in found for name in names):
            clips = extracted(setup, variables, False, kind="evenly", num_clips=m)
            units = clips / np.maximum(np.linalg.norm(clips, axis=2, keepdims=True), 1e-12)
            found |= {name: scored(setup, each.mean(1)) for name, each in zip(names, (clips, units), strict=True)}
            yield


def cell(scores: Scores, name: str, what: str, paper: float | None = None) -> str:
    """Return the mean ± standard deviation over seeds, and in brackets the paper's figure."""
    values = [found[name][what] for found in scores.values() if name in found]
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}" + (f" ({paper})" if paper else "")


def tables(scores: Scores, lengths: list[int]) -> str:
    """Return the three tables as Markdown, with the paper's figures on MARS in brackets where it prints them."""
    lines = ["### Figure 3: one clip, sampled in four ways (mAP / rank-1)", ""]
    lines += [f"| L_train, sampling | {' | '.join(f'L_test = {n}' for n in TEST_LENGTHS)} |", "|---" * 5 + "|"]
    for length in lengths:
        for sampling in (*SAMPLING, "all"):
            ends = [f", L_test {test}" for test in TEST_LENGTHS] if sampling in SAMPLING else [""]
            names = [f"L_train {length}, {sampling}{end}" for end in ends]
            cells = [" / ".join(cell(scores, name, what) for what in ("mAP", "rank1")) for name in names]
            lines.append(f"| {length}, {sampling} | {' | '.join(cells)} |{' |' * (4 - len(cells))}")
    lines += ["", "### Figure 4: the mean of M clips of 4 frames (mAP / rank-1)", ""]
    lines += [f"| | {' | '.join(f'M = {m}' for m in CLIPS)} |", "|---" * (len(CLIPS) + 1) + "|"]
    for norm in ("no L2", "L2"):
        names = [f"L 4, M {m}, {norm}" for m in CLIPS]
        cells = [" / ".join(cell(scores, name, what) for what in ("mAP", "rank1")) for name in names]
        lines.append(f"| {norm} | {' | '.join(cells)} |")
    lines += ["", "### Table 6: M clips of L frames, normalised, mAP (in brackets the paper's on MARS)", ""]
    lines += [f"| M | {' | '.join(f'L = {n}' for n in lengths)} |", "|---" * (len(lengths) + 1) + "|"]
    for m, paper in PAPER_TABLE_6.items():
        papers = dict(zip((4, 8, 16), paper, strict=True))
        lines.append(
            f"| {m} | {' | '.join(cell(scores, f'L {n}, M {m}, L2', 'mAP', papers.get(n)) for n in lengths)} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train, score and write, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--lengths", type=whole_numbers, default="4,8,16", help="of the clips in training")
    arguments = parser.parse_args()
    setup_process()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "ablations.json"
    content = read_scores(file)
    scores: Scores = content["scores"]
    for seed in arguments.seeds:
        for length in arguments.lengths:
            for _ in measure(arguments, seed, length, content, file):
                write(file, json.dumps(content, indent=1) + "\n")
                write(arguments.out / "ablations.md", tables(scores, arguments.lengths))
    print("\n" + tables(scores, arguments.lengths))


if __name__ == "__main__":
    with exit_codes("clip_similarity_ablations"):
        main()
