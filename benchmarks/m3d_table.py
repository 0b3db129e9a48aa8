"""Reproduce the tables of the M3D paper on walkers: what its layers, its attention and its second stream are worth.

    python benchmarks/m3d_table.py --out=runs/m3d-table --seeds=0,1,2 [--tables=2,1] [--steps=1000]

All rows have the recipe of the demonstration, `configs/m3d.py` on `walkers/demo`, and differ from it in the fields that
stand beside them and in nothing else. The 2-D stream of a seed is trained once, and every row's temporal stream starts
from it, which is what a run of both streams does; rows of full size start from one of full size. Tables: `1`, layers over
time; `16`, the same on clips of 16 frames; `2`, attention and the two streams; `3`, other ways to see motion; `study`, one
change at a time. Rows of `1` and `2` are also scored on shuffled frames: what a network knows of gait is lost there.

Resumable: finished runs are read and others continued. After each run, `table.md` is written with all tables and seeds
that are there, and the paper's figures on MARS beside ours: mean ± standard deviation over the seeds.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from walkers_runs import configuration, run, scores, seeds, some_of, table, whole_numbers

from vreid_jax.runtime import setup_process
from vreid_jax.runtime.exit_codes import exit_codes

SPATIAL = "2d"


class Row(NamedTuple):
    """A run of a table.

    Attributes:
      title: what its stream is called.
      changes: the fields in which it differs from `configs/m3d.py`.
      paper: mAP and rank-1 of the paper, on MARS.
      argument: what stands behind the dataset of the configuration.
      start: the row of the 2-D stream from which it starts.
      longer: by which factor its temporal phase is longer than that of other rows.
    """

    title: str
    changes: dict[str, Any]
    paper: str = ""
    argument: str = ""
    start: str = SPATIAL
    longer: int = 1


NO_RAL = {"model.ral": ""}
FULL = {"model.width": 64, "model.stage_sizes": (3, 4, 6, 3)}
LONG = "clip_length=16"


def _over_time(temporal: str) -> dict[str, Any]:
    return {"model.temporal": temporal}


ROWS = {
    SPATIAL: Row("2-D", {}, "62.54 / 76.43", "streams=spatial"),
    "m3d": Row("M3D", NO_RAL, "69.90 / 81.01"),
    "ral-s": Row("M3D + RAL(s)", {"model.ral": "s"}, "71.04 / 82.19"),
    "ral-t": Row("M3D + RAL(t)", {"model.ral": "t"}, "70.66 / 81.81"),
    "ral-c": Row("M3D + RAL(c)", {"model.ral": "c"}, "71.30 / 82.13"),
    "ral": Row("M3D + RAL", {}, "71.76 / 82.79"),
    "i3d": Row("I3D", _over_time("i3d"), "62.84 / 76.62"),
    "p3d-a": Row("P3D-A", _over_time("p3d_a"), "60.69 / 75.08"),
    "p3d-b": Row("P3D-B", _over_time("p3d_b"), "67.03 / 79.06"),
    "p3d-c": Row("P3D-C", _over_time("p3d_c"), "67.06 / 79.08"),
    "i3d-16": Row("I3D, T = 16", _over_time("i3d"), "61.58 / 75.11", LONG),
    "p3d-a-16": Row("P3D-A, T = 16", _over_time("p3d_a"), "60.52 / 75.69", LONG),
    "p3d-b-16": Row("P3D-B, T = 16", _over_time("p3d_b"), "65.07 / 77.63", LONG),
    "p3d-c-16": Row("P3D-C, T = 16", _over_time("p3d_c"), "65.17 / 79.44", LONG),
    "m3d-16": Row("M3D, T = 16", NO_RAL, "66.23 / 80.13", LONG),
    "lstm": Row("LSTM on 2-D features", _over_time("lstm"), "61.58 / 76.11"),
    "flow": Row("optical flow", {}, "", "model.temporal=flow"),
    # One change at a time, of the 2-D stream and of M3D without attention.
    "2d-stride-2": Row("2-D, last stride 2", {"model.spatial_last_stride": 2}, "", "streams=spatial"),
    "stride-1": Row("M3D, last stride 1", {**NO_RAL, "model.temporal_last_stride": 1}),
    "scales-1": Row("M3D, one temporal kernel", {**NO_RAL, "model.temporal_scales": 1}),
    "scales-2": Row("M3D, two temporal kernels", {**NO_RAL, "model.temporal_scales": 2}),
    "no-stem": Row("M3D, no layer behind the stem", {**NO_RAL, "model.stem_m3d": False}),
    "unstrided": Row("M3D, time unstrided", {**NO_RAL, "model.temporal_stride": False}),
    "random": Row("M3D, kernels random at first", {**NO_RAL, "model.m3d_init": "random"}),
    "from-2d": Row("M3D, the 2-D network at first", {**NO_RAL, "model.m3d_scale": 0.0}),
    "m3d-16-twice": Row("M3D, T = 16, twice the steps", NO_RAL, "", LONG, longer=2),
    # The start of the temporal kernels once more, in a ResNet-50 of the paper's size.
    "2d-full": Row("2-D, full size", FULL, "", "streams=spatial"),
    "full-from-2d": Row(
        "M3D, full size, the 2-D network at first",
        {**FULL, **NO_RAL, "model.m3d_init": "random", "model.m3d_scale": 0.0},
        start="2d-full",
    ),
    "full-zero-sum": Row("M3D, full size, kernels that sum to zero at first", {**FULL, **NO_RAL}, start="2d-full"),
}
FUSED = {"ral": "74.06 / 84.39", "flow": "63.39 / 77.11"}
"""mAP and rank-1 of the paper where a row is fused with the 2-D stream, `NAME+` below."""

TABLES = {  # name -> (heading, rows, controls)
    "1": ("Table 1: layers over time, T = 8", "2d i3d p3d-a p3d-b p3d-c m3d", ("shuffled",)),
    "16": ("Table 1: layers over time, T = 16", "i3d-16 p3d-a-16 p3d-b-16 p3d-c-16 m3d-16", ()),
    "2": ("Table 2: attention and two streams", "2d m3d ral-s ral-t ral-c ral m3d+ ral+", ("shuffled",)),
    "3": ("Table 3: other ways to see motion", "lstm flow flow+ ral+", ()),
    "study": (
        "One change at a time",
        "2d 2d-stride-2 m3d stride-1 scales-1 scales-2 no-stem unstrided random from-2d m3d-16-twice "
        "2d-full full-from-2d full-zero-sum",
        (),
    ),
}


def main() -> None:
    """Run the rows of the requested tables, seed by seed, and write all that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/m3d-table"))
    parser.add_argument("--seeds", type=whole_numbers, default="0,1,2")
    parser.add_argument(
        "--tables",
        type=some_of("table", TABLES),
        default="2,1,3,16,study",
        help=f"of {', '.join(TABLES)}, in this order",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=0,
        help="steps of both phases (a row may take twice as many); 0: as in the configuration",
    )
    arguments = parser.parse_args()
    setup_process()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for name in arguments.tables:
            _, rows, controls = TABLES[name]
            for control in ("", *controls):
                for row in rows.split():
                    result_of(arguments.out, row.removesuffix("+"), seed, control, arguments.steps)
                    (arguments.out / "table.md").write_text(tables(arguments.out, arguments.steps))
    print("\n" + tables(arguments.out, arguments.steps))


def argument_of(name: str) -> str:
    """Return what stands behind `configs/m3d.py:` in a row."""
    return ",".join(filter(None, ("walkers", ROWS[name].argument)))


def _is_temporal(name: str) -> bool:
    return ROWS[name].argument != ROWS[SPATIAL].argument


def fields(out: Path, name: str, seed: int, steps: int = 0) -> dict[str, Any]:
    """Return the fields that a row sets, of which some make it start from the 2-D stream of its seed in `out`."""
    row, temporal = ROWS[name], "phases.temporal.total_steps"
    lengths = dict.fromkeys(("phases.spatial.total_steps", temporal), steps) if steps else {}
    if row.longer > 1:
        own = steps or configuration("m3d", {}, argument_of(name)).phases.temporal.total_steps
        lengths[temporal] = row.longer * own
    start = {
        "phase_order": ("temporal",),
        "init_from": str(out / f"{row.start}-seed{seed}"),
        "init_patterns": ("spatial/.*",),
    }
    return {**row.changes, **lengths, **(start if _is_temporal(name) else {})}


def result_of(out: Path, name: str, seed: int, control: str = "", steps: int = 0) -> dict:
    """Return the results of a row, which is trained first, and before it the 2-D stream."""
    if _is_temporal(name):
        result_of(out, ROWS[name].start, seed, "", steps)
    return _run(out, name, seed, control, steps)


def _run(out: Path, name: str, seed: int, control: str, steps: int) -> dict:
    return run("m3d", name, seed, out, fields(out, name, seed, steps), control, argument=argument_of(name))


def tables(out: Path, steps: int = 0) -> str:
    """Return all tables with the rows and seeds that are in a folder, as Markdown."""
    parts = []
    for heading, rows, controls in TABLES.values():
        values, paper = {}, {}
        for control in ("", *controls):
            for line in rows.split():
                name = line.removesuffix("+")
                stream = "temporal" if line == name and _is_temporal(name) else None
                title = ROWS[name].title if line == name else f"two streams: 2-D and {ROWS[name].title}"
                title += f", {control} frames" if control else ""
                if found := [_run(out, name, seed, control, steps) for seed in seeds(out, name, control)]:
                    values[title] = [scores(result, stream) for result in found]
                    paper[title] = "" if control else FUSED.get(name, "") if line != name else ROWS[name].paper
        if values:
            parts.append(f"### {heading}\n\n{table(values, paper)}")
    return "\n".join(parts)


if __name__ == "__main__":
    with exit_codes("m3d_table"):
        main()
