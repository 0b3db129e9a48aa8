"""Reproduce Table 2 of the 3-D ResNet paper on walkers: averaged frames, ResNet3D, ResNet3D with non-local blocks.

    python benchmarks/nonlocal3d_table.py --out=runs/nonlocal3d-table --seeds=0,1,2 [--rows=…] [--steps=800]

Each row is scored on the ordinary test set, for all queries and for gait twins, and on the same people and walks with
three times the box jitter (`walkers/jitter`). Resumable: finished runs are read and others continued.
"""

import argparse
from pathlib import Path

from walkers_runs import run, scores, table

from vreid_jax.runtime import setup_process

ROWS = {  # name -> (title, fields that differ from the system)
    "average": ("ResNet-50, average over frames", {"model.network": "average"}),
    "resnet3d": ("ResNet3D-50, separable", {"model.non_local": False}),
    "nonlocal": ("ResNet3D-50, separable, non-local", {}),
    "attention": ("ResNet-50, temporal attention", {"model.network": "attention"}),
    "rnn": ("ResNet-50, RNN", {"model.network": "rnn"}),
    "inflated": ("ResNet3D-50, inflated, non-local", {"model.network": "inflated"}),
}
MAIN_ROWS = "average,resnet3d,nonlocal"


def main() -> None:
    """Run the requested rows, seed by seed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/nonlocal3d-table"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rows", default=MAIN_ROWS, help=f"of {', '.join(ROWS)}")
    parser.add_argument("--steps", type=int, default=0, help="steps of training; 0: as in the configuration")
    arguments = parser.parse_args()
    setup_process()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list] = {}
    for seed in map(int, arguments.seeds.split(",")):
        for name in arguments.rows.split(","):
            title, changes = ROWS[name]
            if arguments.steps:
                changes = {**changes, "phases.clips.total_steps": arguments.steps}
            for suffix, control in (("", ""), (", jitter", "jitter")):
                result = run("nonlocal3d", name, seed, out, changes, control)
                found.setdefault(f"{title}{suffix}", []).append(scores(result))
                (out / "table.md").write_text(table(found))
    print("\n" + table(found))


if __name__ == "__main__":
    main()
