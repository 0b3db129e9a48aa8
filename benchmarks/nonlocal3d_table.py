"""Reproduce the tables of the 3-D ResNet paper on walkers: what its networks, starts and fine-tunings are worth.

    python benchmarks/nonlocal3d_table.py --out=runs/nonlocal3d-table --seeds=0,1,2 [--tables=2,3] [--steps=800]

Every row of a table differs from `configs/nonlocal3d.py:walkers` in the fields that stand beside it, and in nothing else.
Tables: `2`, `3` and `4` of the paper, `fig1` with its other poolings, whose rows share one stride of the last stage, clips,
losses and 800 steps; `study`, one change at a time between averaged frames and the 3-D network, of these too; `twins`,
gaits on `walkers/gaits` with the recipe that first taught M3D, which its rows share. Rows of `2` and `fig1` are also scored
on the same people and walks with three times the box jitter, rows of `twins` on shuffled frames.

Resumable: finished runs are read, if they are of the configuration that is asked for, and others continued. After each run
the tables are written to `table.md`, with the paper's figures beside ours: mean ± standard deviation over the seeds that
are there.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any, NamedTuple

from walkers_runs import run, scores, seeds, some_of, table, whole_numbers

from vreid_jax.runtime import setup_process
from vreid_jax.runtime.exit_codes import exit_codes

UNSTRIDED = (1, 1, 1, 1, 1, 1)
AS_IT_WAS = {"model.temporal_shortcut": "subsample", "model.temporal_pool": True}
STRIDE_1 = {"phases.clips.clip.stride": 1, "evaluation.streams.clips.clip.stride": 1}
AVERAGE, SEPARABLE = {"model.network": "average"}, {"model.non_local": False}
GAITS = {  # the earlier recipe of M3D in docs/results.md
    "data.name": "walkers/gaits",
    "model.dropout": 0.0,
    "phases.clips.sampler": "shuffle",
    "phases.clips.batch_size": 48,
    "phases.clips.augment.flip": 0.5,
    "phases.clips.losses.softmax.smoothing": 0.0,
    "phases.clips.losses.triplet.weight": 0.0,
    "phases.clips.optimizer.learning_rate": 3e-3,
    "phases.clips.optimizer.weight_decay": 0.0,
    "phases.clips.schedule.name": "step",
    "phases.clips.schedule.boundaries": (0.75,),
    "phases.clips.schedule.warmup_steps": 50,
    "phases.clips.total_steps": 1000,
    **STRIDE_1,
}


class Row(NamedTuple):
    """A row of a table.

    Attributes:
      title: what the row is called.
      changes: the fields in which it differs from `configs/nonlocal3d.py:walkers`.
      start: the row whose run of the same seed it starts from.
    """

    title: str
    changes: dict[str, Any]
    start: str = ""


class Table(NamedTuple):
    """A table.

    Attributes:
      heading: what stands above it.
      rows: the names of its rows, with spaces between.
      controls: the other evaluations of each row.
      paper: the paper's figures by row.
      paper_title: what stands above them.
    """

    heading: str
    rows: str
    controls: tuple[str, ...] = ()
    paper: dict[str, str] | None = None
    paper_title: str = "paper, MARS: rank-1 / 5 / 10, mAP"


ROWS = {
    "average": Row("ResNet-50, average over frames", AVERAGE),
    "separable": Row("ResNet3D-50, separable", SEPARABLE),
    "nonlocal": Row("ResNet3D-50, separable, non-local", {}),
    "attention": Row("ResNet-50, temporal attention", {"model.network": "attention"}),
    "rnn": Row("ResNet-50, RNN", {"model.network": "rnn"}),
    "inflated": Row("ResNet3D-50, inflated, non-local", {"model.network": "inflated"}),
    # One change at a time.
    "average-last1": Row("averaged frames, last stride 1", {**AVERAGE, "model.last_stride": 1}),
    "average-stride1": Row("averaged frames, adjacent frames", {**AVERAGE, **STRIDE_1}),
    "separable-last1": Row("separable, last stride 1", {**SEPARABLE, "model.last_stride": 1}),
    "separable-stride1": Row("separable, adjacent frames", {**SEPARABLE, **STRIDE_1}),
    "separable-unstrided": Row("separable, time unstrided", {**SEPARABLE, "model.temporal_strides": UNSTRIDED}),
    "separable-subsample": Row("separable, three frames of eight count", {**SEPARABLE, **AS_IT_WAS}),
    "separable-wrap": Row("separable, one clip of a short tracklet", {**SEPARABLE, "phases.clips.clip.short": "wrap"}),
    "separable-2d": Row("separable, from the averaged frames", SEPARABLE, start="average"),
    "average-again": Row("averaged frames, as many steps again", AVERAGE, start="average"),
    # Table 3.
    "nonlocal-2d": Row("non-local, from averaged frames", {}, start="average"),
    "nonlocal-again": Row("non-local, as many steps again", {}, start="nonlocal"),
    "gaits": Row("non-local, on walkers/gaits", {"data.name": "walkers/gaits"}),
    "nonlocal-gaits": Row("non-local, from walkers/gaits", {}, start="gaits"),
    # Table 4. The small networks do not learn walkers/wild, whose people appear nowhere else: docs/nonlocal3d.md.
    "gaits-small": Row("fine-tuned from walkers/small", {"data.name": "walkers/gaits"}, start="nonlocal"),
    # Gait twins.
    "twins-average": Row("ResNet-50, average over frames", {**GAITS, **AVERAGE}),
    "twins-separable": Row("ResNet3D-50, separable", {**GAITS, **SEPARABLE}),
    "twins-nonlocal": Row("ResNet3D-50, separable, non-local", GAITS),
}
RANKS = (1, 5, 10)
TABLES = {
    "study": Table(
        "One change at a time",
        "average separable average-last1 separable-last1 separable-unstrided separable-subsample separable-wrap "
        "average-stride1 separable-stride1 separable-2d average-again",
    ),
    "2": Table(
        "Table 2: components",
        "average separable nonlocal",
        ("jitter",),
        {
            "average": "77.9 / 90.0 / 92.5, 69.0",
            "separable": "80.0 / 92.2 / 94.5, 72.6",
            "nonlocal": "84.3 / 94.6 / 96.2, 77.0",
        },
    ),
    "fig1": Table("Figure 1: pooling over time", "average attention rnn inflated", ("jitter",)),
    "3": Table(
        "Table 3: where the network starts, the first row from nothing",
        "nonlocal nonlocal-2d nonlocal-gaits nonlocal-again average average-again",
        paper={
            "nonlocal": "ImageNet: 78.4 / 91.5 / 93.9, 69.8",
            "nonlocal-2d": "re-ID sets: 79.9 / 92.6 / 94.5, 71.3",
            "nonlocal-gaits": "Kinetics: 84.3 / 94.6 / 96.2, 77.0",
        },
    ),
    "4": Table(
        "Table 4: fine-tuned to a small dataset, walkers/gaits",
        "gaits gaits-small",
        paper={"gaits-small": "from MARS: PRID2011 91.2, iLIDS-VID 81.3"},
        paper_title="paper: rank-1",
    ),
    "twins": Table("Gait twins", "twins-average twins-separable twins-nonlocal", ("shuffled",)),
}
Found = dict[tuple[str, str], dict[int, tuple]]  # (row, control) -> seed -> scores


def main() -> None:
    """Run the rows of the requested tables, seed by seed, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/nonlocal3d-table"))
    parser.add_argument("--seeds", type=whole_numbers, default="0,1,2")
    parser.add_argument(
        "--tables",
        type=some_of("table", TABLES),
        default="2,study,3,twins,fig1,4",
        help=f"of {', '.join(TABLES)}, in this order",
    )
    parser.add_argument("--steps", type=int, default=0, help="steps of every run; 0: as in the configuration")
    arguments = parser.parse_args()
    setup_process()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for name in arguments.tables:
            for row in TABLES[name].rows.split():
                for control in ("", *TABLES[name].controls):
                    result_of(arguments, row, seed, control)
                    (arguments.out / "table.md").write_text(tables(found_in(arguments), arguments.tables))
    print("\n" + tables(found_in(arguments), arguments.tables))


def result_of(arguments, name: str, seed: int, control: str = "") -> dict:
    """Return the results of a row, which is trained first, and before it the row that it starts from."""
    if ROWS[name].start:
        result_of(arguments, ROWS[name].start, seed)
    return _run(arguments, name, seed, control)


def _run(arguments, name: str, seed: int, control: str) -> dict:
    row = ROWS[name]
    changes = dict(row.changes)
    if arguments.steps:
        changes["phases.clips.total_steps"] = arguments.steps
    if row.start:
        changes["init_from"] = str(arguments.out / f"{row.start}-seed{seed}")
    return run("nonlocal3d", name, seed, arguments.out, changes, control)


def found_in(arguments) -> Found:
    """Return the scores of the requested tables' rows, of all seeds that are in the folder."""
    found: Found = {}
    for each in map(TABLES.__getitem__, arguments.tables):
        for row, control in itertools.product(each.rows.split(), ("", *each.controls)):
            for seed in seeds(arguments.out, row, control):
                result = _run(arguments, row, seed, control)
                found.setdefault((row, control), {})[seed] = scores(result, ranks=RANKS)
    return found


def tables(found: Found, names: list[str]) -> str:
    """Return the tables of these names with the rows that were found, as Markdown."""
    parts = []
    for each in map(TABLES.__getitem__, names):
        values, paper, figures = {}, {}, each.paper or {}
        for control in ("", *each.controls):
            for row in each.rows.split():
                title = f"{ROWS[row].title}, {control}" if control else ROWS[row].title
                if (row, control) in found:
                    values[title] = list(found[row, control].values())
                    if row in figures and not control:
                        paper[title] = figures[row]
        if values:
            parts.append(f"### {each.heading}\n\n{table(values, paper, RANKS, each.paper_title)}")
    return "\n".join(parts)


if __name__ == "__main__":
    with exit_codes("nonlocal3d_table"):
        main()
