"""Reproduce the ablations of the PersonVLAD paper on walkers, and its sub-sampling curves (Fig. 10).

    python benchmarks/person_vlad_table.py --out=runs/person-vlad-table --seeds=0,1,2 [--rows=…] [--steps=300]
    python benchmarks/person_vlad_table.py --curves --out=runs/person-vlad-table --seeds=0

For each seed the backbone is trained once, and every row starts from it. Resumable: finished runs are read and others
continued. `--curves` trains the whole system with different sub-sampling in pieces, evaluates after each, and plots the
result (needs matplotlib, the extra `viz`).
"""

import argparse
import json
from pathlib import Path

from walkers_runs import run, scores, table

from vreid_jax.runtime import setup_process

BACKBONE = {"phase_order": ("backbone",), "evaluation.streams.clips.apply.stream": "c3d"}
_LOSS = "phases.{}.losses.{}.weight"
SOFTMAX = {
    _LOSS.format(phase, loss): float(loss == "softmax") for phase in ("parts", "joint") for loss in ("softmax", "oim")
}

ROWS = {  # name -> (title, fields that differ from the system)
    "c3d": ("C3D feature", None),
    "gp": ("3D ConvNets + GP", {"model.parts": "global"}),
    "grid": ("5x5 grid", {"model.parts": "grid"}),
    "stripes": ("5 stripes", {"model.parts": "stripes"}),
    "b6": ("PersonVLAD, B = 6", {}),
    "average": ("average instead of VLAD", {"model.aggregation": "average"}),
    "max": ("maximum instead of VLAD", {"model.aggregation": "max"}),
    "softmax": ("softmax instead of OIM", {"model.classifiers": ("c3d", "feature"), **SOFTMAX}),
    "b1": ("B = 1", {"model.num_parts": 1}),
    "b2": ("B = 2", {"model.num_parts": 2}),
    "b4": ("B = 4", {"model.num_parts": 4}),
    "b8": ("B = 8", {"model.num_parts": 8}),
    "hard": ("hard assignment", {"model.assignment": "hard"}),
    "tracklet": ("one sum over the tracklet", {"model.aggregate_over": "tracklet"}),
    "locations": ("descriptors of all positions", {"model.descriptors": "locations"}),
}
HEADLINE = "c3d,gp,grid,b6,average,softmax"  # three seeds; one for the rest
SUBSAMPLES = {10: "10", 100: "100", 0: "all"}
PIECES = 6


def main() -> None:
    """Run what is requested, seed by seed, and write the table or the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/person-vlad-table"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rows", default=HEADLINE, help=f"of {', '.join(ROWS)}")
    parser.add_argument("--steps", type=int, default=0, help="of the joint phase, the parts' is half; 0: as configured")
    parser.add_argument("--backbone-steps", type=int, default=0, help="likewise of the backbone")
    parser.add_argument("--curves", action="store_true", help="sub-sampling of OIM over the iterations")
    arguments = parser.parse_args()
    setup_process()
    arguments.out.mkdir(parents=True, exist_ok=True)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    if arguments.curves:
        plot(
            {name: [curve(arguments, seed, number) for seed in seeds] for number, name in SUBSAMPLES.items()},
            arguments.out,
        )
        return
    found: dict[str, list] = {}
    for seed in seeds:
        for name in arguments.rows.split(","):
            title, changes = ROWS[name]
            start = backbone(arguments, seed)
            result = (
                start
                if changes is None
                else run("person_vlad", name, seed, arguments.out, from_backbone(arguments, seed) | changes)
            )
            found.setdefault(title, []).append(scores(result))
            (arguments.out / "table.md").write_text(table(found))
    print("\n" + table(found))


def backbone(arguments, seed: int) -> dict:
    """Return the result of the C3D from which all rows of a seed start, training it on the first call."""
    steps = {"phases.backbone.total_steps": arguments.backbone_steps} if arguments.backbone_steps else {}
    return run("person_vlad", "backbone", seed, arguments.out, {**BACKBONE, **steps})


def from_backbone(arguments, seed: int) -> dict:
    """Return the fields of a run that starts from it."""
    steps = arguments.steps
    return {
        "phase_order": ("parts", "joint"),
        "init_from": str(arguments.out / f"backbone-seed{seed}"),
        "init_patterns": ("backbone/.*",),
        **({"phases.joint.total_steps": steps, "phases.parts.total_steps": -(-steps // 2)} if steps else {}),
    }


def curve(arguments, seed: int, subsample: int) -> list[tuple[int, float]]:
    """Return pairs (steps of the joint phase, mAP in percent) of one sub-sampling, from runs of growing length.

    The rate of the joint phase is constant here, so that a longer run continues a shorter one.
    """
    backbone(arguments, seed)
    points = []
    total = arguments.steps or 300
    for piece in range(1, PIECES + 1):
        steps = total * piece // PIECES
        changes = from_backbone(arguments, seed) | {
            "phases.joint.schedule.name": "constant",
            "phases.joint.total_steps": steps,
            "evaluation.selections": (),
            **{f"phases.{phase}.losses.oim.subsample": subsample for phase in ("parts", "joint")},
        }
        folder, name = f"subsample-{SUBSAMPLES[subsample]}", f"subsample-{SUBSAMPLES[subsample]}-{steps}"
        points.append((steps, scores(run("person_vlad", name, seed, arguments.out, changes, folder=folder))[0]))
    return points


def plot(curves: dict[str, list], out: Path) -> None:
    """Write `subsampling.png` and its numbers, means over the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.5))
    means = {}
    for name, seeds in curves.items():
        means[name] = [
            (points[0][0], sum(score for _, score in points) / len(points)) for points in zip(*seeds, strict=True)
        ]
        axes.plot(*zip(*means[name], strict=True), marker="o", label=f"sub-sampling {name}")
    axes.set(xlabel="iterations of the joint phase", ylabel="mAP (%)")
    axes.legend()
    figure.tight_layout()
    figure.savefig(out / "subsampling.png", dpi=120)
    (out / "subsampling.json").write_text(json.dumps(means, indent=1) + "\n")
    print(json.dumps(means, indent=1))


if __name__ == "__main__":
    main()
