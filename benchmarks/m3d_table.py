"""Reproduce the M3D paper's Tables 1 and 2 on walkers with eight gaits per outfit, with a shuffled-frames control.

    python benchmarks/m3d_table.py --out=runs/m3d-table --seeds=0,1,2 [--rows=m3d,lstm] [--steps=1000]

Each run trains the temporal stream from random weights, then, where the table has two streams, the 2-D one.
Resumable: finished runs are read and others continued; the table is rewritten after each.
"""

import argparse
from pathlib import Path

from walkers_runs import run, scores, table

from vreid_jax.runtime import setup_process

ROWS = {  # name -> (title, fields that differ from M3D alone)
    "m3d": ("M3D, T = 8", {}),
    "ral-s": ("M3D + RAL(s)", {"model.ral": "s"}),
    "ral-t": ("M3D + RAL(t)", {"model.ral": "t"}),
    "ral-c": ("M3D + RAL(c)", {"model.ral": "c"}),
    "ral-sct": ("M3D + RAL", {"model.ral": "sct"}),
    "m3d-16": (
        "M3D, T = 16",
        {
            "model.clip_length": 16,
            "phases.temporal.clip.length": 16,
            "phases.temporal.batch_size": 24,
            "evaluation.streams.temporal.clip.length": 16,
        },
    ),
    "i3d": ("I3D", {"model.temporal": "i3d"}),
    "p3d-a": ("P3D-A", {"model.temporal": "p3d_a"}),
    "p3d-b": ("P3D-B", {"model.temporal": "p3d_b"}),
    "p3d-c": ("P3D-C", {"model.temporal": "p3d_c"}),
    "lstm": ("LSTM on 2-D features", {"model.temporal": "lstm"}),
}
# Of all rows: Adam, and M3D's kernels from random values at the frames' own size, other than in the demonstration.
RECIPE = {
    "model.m3d_init": "random",
    "model.temporal_downsample": 1,
    "phases.temporal.optimizer.name": "adam",
    "phases.temporal.optimizer.momentum": 0.9,
    "phases.temporal.schedule.name": "step",
    "phases.temporal.schedule.boundaries": (0.75,),
    "phases.temporal.schedule.warmup_steps": 50,
    "phases.spatial.total_steps": 600,
}
TWO_STREAMS = ("m3d", "ral-sct", "m3d-16")  # rows with a 2-D stream beside them


def main() -> None:
    """Run the requested rows, seed by seed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/m3d-table"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--steps", type=int, default=1000, help="steps of the temporal phase")
    arguments = parser.parse_args()
    setup_process()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list] = {}

    def add(title: str, values) -> None:
        found.setdefault(title, []).append(values)
        (out / "table.md").write_text(table(found))

    for seed in map(int, arguments.seeds.split(",")):
        for name in arguments.rows.split(","):
            title, changes = ROWS[name]
            changes = {
                "data.name": "walkers/gaits",
                "phase_order": ("temporal", "spatial") if name in TWO_STREAMS else ("temporal",),
                "model.ral": "",
                **RECIPE,
                "phases.temporal.total_steps": arguments.steps,
                **changes,
            }
            result = run("m3d", name, seed, out, changes)
            if name == "m3d":
                add("2-D", scores(result, "spatial"))
            add(title, scores(result, "temporal"))
            if name in TWO_STREAMS:
                add(f"two streams: 2-D and {title}", scores(result, None))
            if name in ("m3d", "ral-sct"):
                control = run("m3d", name, seed, out, changes, "shuffled")
                add(f"{title}, shuffled frames", scores(control, "temporal"))
                add(f"two streams: 2-D and {title}, shuffled frames", scores(control, None))
    print("\n" + table(found))


if __name__ == "__main__":
    main()
