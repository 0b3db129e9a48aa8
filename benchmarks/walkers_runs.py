"""Resumable runs of a configuration and tables of means over seeds, shared by the benchmarks on walkers."""

import json
import re
import runpy
import time
from pathlib import Path

import numpy as np

from vreid_jax.config import set_field
from vreid_jax.experiment import train_and_evaluate

CONFIGS = Path(__file__).parent.parent / "configs"

CONTROLS = {  # evaluations of a trained run: name -> fields
    "shuffled": {"evaluation.shuffle_frames": True},
    "jitter": {"evaluation.dataset": "walkers/jitter"},
}


def configuration(system: str, changes: dict, argument: str = "walkers"):
    """`configs/<system>.py` for walkers, with this argument and these fields, in float32 on every device, no baselines."""
    config = runpy.run_path(str(CONFIGS / f"{system}.py"))["get_config"](argument)
    for field, value in {"dtype": "float32", "evaluation.baselines": (), **changes}.items():
        set_field(config, field, value)
    return config


def run(
    system: str,
    name: str,
    seed: int,
    out: Path,
    changes: dict,
    control: str = "",
    folder: str = "",
    argument: str = "walkers",
) -> dict:
    """Train and evaluate a configuration of `configs/<system>.py`, or read what an earlier start found.

    `changes` are fields by dotted name; `control` evaluates the trained run under one of `CONTROLS`.
    Runs of growing length share a `folder`, by default their name, and go on in it.
    """
    workdir = out / f"{folder or name}-seed{seed}"
    kept = out / f"{name}-seed{seed}{f'-{control}' if control else ''}.json"
    if not kept.exists():
        config = configuration(system, {"seed": seed, **changes, **CONTROLS.get(control, {})}, argument)
        print(f"\n{time.strftime('%H:%M:%S')} {workdir}{f', {control}' if control else ''}", flush=True)
        found = train_and_evaluate(config, workdir, "evaluate" if control else "train_and_evaluate")
        found.save(kept)
    return json.loads(kept.read_text())


def read(out: Path, name: str, control: str = "") -> list[dict]:
    """Return the results of a row that are in a folder, in the order of their seeds."""
    pattern = re.compile(rf"{re.escape(name)}-seed(\d+){f'-{control}' if control else ''}\.json")
    found = {int(match[1]): path for path in out.glob("*.json") if (match := pattern.fullmatch(path.name))}
    return [json.loads(found[seed].read_text()) for seed in sorted(found)]


def scores(result: dict, stream: str | None = None) -> tuple[float, float, float, float]:
    """Return mAP, rank-1 and rank-1 between twins, in percent, and seconds of training."""
    protocols = result["streams"][stream] if stream else result["protocols"]
    main = next(iter(protocols.values()))
    twins = result["twins"][stream or "system"]["rank1"]
    return 100 * main["mAP"], 100 * main["rank1"], 100 * twins, result["train_seconds"]


def table(found: dict[str, list], paper: dict[str, str] | None = None) -> str:
    """Return the mean ± standard deviation over seeds of the `scores` of each row, as Markdown.

    `paper` are its mAP and rank-1 by row, for a column beside ours.
    """
    head = ["row", *(["paper, MARS"] if paper else []), "mAP", "rank-1", "twins", "training", "seeds"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for title, values in found.items():
        mean, spread = np.mean(values, 0), np.std(values, 0, ddof=1) if len(values) > 1 else np.zeros(4)
        cells = [
            f"{m:.1f} ± {s:.1f}" if len(values) > 1 else f"{m:.1f}" for m, s in zip(mean[:3], spread, strict=False)
        ]
        if paper:
            cells.insert(0, paper.get(title, ""))
        lines.append(f"| {title} | {' | '.join(cells)} | {mean[3]:.0f} s | {len(values)} |")
    return "\n".join(lines) + "\n"
