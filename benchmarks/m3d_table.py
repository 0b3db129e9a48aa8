"""The paper's Table 1 and Table 2 on walkers, as far as their networks exist, and the control with shuffled frames.

    python benchmarks/m3d_table.py --out=runs/m3d-table --seeds=0,1,2 [--rows=m3d,lstm] [--steps=1500]

Resumable: a run that is finished is read, one that is not goes on; the table is written anew after each.
"""

import argparse
import json
import runpy
import time
from pathlib import Path

import numpy as np
from absl import flags

from vreid_jax import config as fields
from vreid_jax.experiment import train_and_evaluate

CONFIG = Path(__file__).parent.parent / "configs" / "m3d.py"

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
            "phases.temporal.batch_size": 12,
            "evaluation.streams.temporal.clip.length": 16,
        },
    ),
    "lstm": ("LSTM on 2-D features", {"model.temporal": "lstm", "model.lstm_size": 128}),
}


def run(name: str, seed: int, out: Path, changes: dict, mode: str = "train_and_evaluate") -> dict:
    """Train and evaluate one configuration, or read what an earlier start found."""
    workdir = out / f"{name}-seed{seed}"
    shuffled = changes.get("evaluation.shuffle_frames", False)
    kept = out / f"{name}-seed{seed}{'-shuffled' if shuffled else ''}.json"
    if not kept.exists():
        config = runpy.run_path(str(CONFIG))["get_config"]("walkers")
        for field, value in {"seed": seed, "evaluation.baselines": (), **changes}.items():
            fields.set_field(config, field, value)
        print(f"\n{time.strftime('%H:%M:%S')} {workdir}{', shuffled frames' if shuffled else ''}", flush=True)
        train_and_evaluate(config, workdir, mode)
        kept.write_text((workdir / f"results{'-shuffled' if shuffled else ''}.json").read_text())
    return json.loads(kept.read_text())


def scores(result: dict, stream: str | None) -> tuple[float, float, float, float]:
    """mAP, rank-1, rank-1 between twins, in percent, and seconds of training."""
    protocols = result["streams"][stream] if stream else result["protocols"]
    main = next(iter(protocols.values()))
    twins = result["twins"][stream or "system"]["rank1"]
    return 100 * main["mAP"], 100 * main["rank1"], 100 * twins, result["train_seconds"]


def table(found: dict[str, list]) -> str:
    """Mean ± standard deviation over the seeds, as Markdown."""
    lines = ["| row | mAP | rank-1 | twins | training | seeds |", "|---|---|---|---|---|---|"]
    for title, values in found.items():
        mean, spread = np.mean(values, 0), np.std(values, 0, ddof=1) if len(values) > 1 else np.zeros(4)
        cells = [
            f"{m:.1f} ± {s:.1f}" if len(values) > 1 else f"{m:.1f}" for m, s in zip(mean[:3], spread, strict=False)
        ]
        lines.append(f"| {title} | {' | '.join(cells)} | {mean[3]:.0f} s | {len(values)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the rows asked for, seed by seed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/m3d-table"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--steps", type=int, default=0, help="steps of the temporal phase; 0: as in the configuration")
    arguments = parser.parse_args()
    flags.FLAGS(["m3d_table"])  # Grain reads flags
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list] = {}

    def add(title: str, values) -> None:
        found.setdefault(title, []).append(values)
        (out / "table.md").write_text(table(found))

    for seed in map(int, arguments.seeds.split(",")):
        spatial = {"phase_order": ("spatial",), "model.ral": ""}
        spatial_workdir = out / f"2d-seed{seed}"
        run("2d", seed, out, spatial)
        for name in arguments.rows.split(","):
            title, changes = ROWS[name]
            changes = {
                "phase_order": ("temporal",),
                "model.ral": "",
                "init_from": str(spatial_workdir),
                "init_patterns": ("spatial/.*",),
                **({"phases.temporal.total_steps": arguments.steps} if arguments.steps else {}),
                **changes,
            }
            result = run(name, seed, out, changes)
            if title == ROWS["m3d"][0]:
                add("2-D", scores(result, "spatial"))
            add(title, scores(result, "temporal"))
            add(f"two streams: 2-D and {title}", scores(result, None))
            if name in ("m3d", "ral-sct"):
                control = run(name, seed, out, {**changes, "evaluation.shuffle_frames": True}, "evaluate")
                add(f"{title}, shuffled frames", scores(control, "temporal"))
                add(f"two streams: 2-D and {title}, shuffled frames", scores(control, None))
    print("\n" + table(found))


if __name__ == "__main__":
    main()
