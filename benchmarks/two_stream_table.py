"""The two-stream rows with optical flow on walkers: VGG-16 (PersonVLAD, Table VII) and ResNet-50 (M3D, Table 3).

    python benchmarks/two_stream_table.py --out=runs/two-stream-table --seeds=0,1,2 [--rows=vgg,vlad,flow]

`vgg` trains both networks once and scores every fusion and each network alone, also on shuffled frames, whose flow is
computed anew; `vlad` goes on from it; `flow` is the two-stream system of M3D with flow as its temporal stream, which
`m3d_table.py` has among its rows: with its `--out`, runs that are there are read.
Resumable: finished runs are read and others continued. After each, `two_stream.md` is written with all rows and seeds that
are there: mean ± standard deviation over the seeds.
"""

import argparse
from pathlib import Path

import m3d_table
from walkers_runs import run, scores, seeds, some_of, table, whole_numbers

from vreid_jax.runtime import setup_process
from vreid_jax.runtime.exit_codes import exit_codes

ROWS = {  # name -> (system, argument behind its configuration)
    "vgg": ("two_stream_vgg", "walkers"),
    "vlad": ("two_stream_vgg", "walkers,fusion=vlad"),
    "flow": ("m3d", m3d_table.argument_of("flow")),
}
CONTROLS = ("", "shuffled")
TITLES = {  # row -> stream -> title; of no stream, the system's
    "vgg": {
        "spatial": "VGG-16, frames",
        "temporal": "VGG-16, flow",
        "max": "VGG-16, maximum",
        "average": "VGG-16, average",
        "product": "VGG-16, product",
        "scores": "VGG-16, mean of the scores",
    },
    "vlad": {None: "VGG-16, VLAD of conv5_3"},
    "flow": {"spatial": "ResNet-50, frames", "temporal": "ResNet-50, flow", None: "ResNet-50, appearance and flow"},
}


PAPER = {  # title -> of the paper, on MARS: Table VII of PersonVLAD has rank-1 alone, Table 3 of M3D mAP, too
    "VGG-16, maximum": "rank-1 65.7",
    "VGG-16, average": "rank-1 65.9",
    "VGG-16, product": "rank-1 67.8",
    "VGG-16, VLAD of conv5_3": "rank-1 76.5",
    "ResNet-50, frames": m3d_table.ROWS[m3d_table.SPATIAL].paper,
    "ResNet-50, appearance and flow": m3d_table.FUSED["flow"],
}


def start(name: str, seed: int, out: Path) -> dict:
    """Return the fields by which a row begins where another has ended."""
    if name == "flow":
        return m3d_table.fields(out, name, seed)
    if name == "vgg":
        return {}
    return {
        "init_from": str(out / f"vgg-seed{seed}"),
        "init_patterns": ("(spatial|temporal)/.*",),
        "phase_order": ("vlad",),
    }


def finish_start(name: str, seed: int, out: Path) -> None:
    """Train and score the row where another begins, unless that is done: a run that is under way would be a start, too."""
    if name == "flow":
        m3d_table.result_of(out, m3d_table.SPATIAL, seed)
    if name == "vlad" and seed not in seeds(out, name):
        result_of(out, "vgg", seed, "")


def main() -> None:
    """Run the requested rows, seed by seed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/two-stream-table"))
    parser.add_argument("--seeds", type=whole_numbers, default="0,1,2")
    parser.add_argument(
        "--rows", type=some_of("row", ROWS), default=",".join(ROWS), help="in this order; vlad trains vgg first"
    )
    arguments = parser.parse_args()
    setup_process()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for name in arguments.rows:
            finish_start(name, seed, out)
            for control in CONTROLS:
                result_of(out, name, seed, control)
                (out / "two_stream.md").write_text(table_of(out))
    print("\n" + table_of(out))


def result_of(out: Path, name: str, seed: int, control: str) -> dict:
    """Return the results of a row, which is trained first where they are not in `out`."""
    system, argument = ROWS[name]
    return run(system, name, seed, out, start(name, seed, out), control, argument=argument)


def table_of(out: Path) -> str:
    """Return the table with the rows and seeds that are in a folder, as Markdown."""
    found: dict[str, list] = {}
    for name, titles in TITLES.items():
        for control in CONTROLS:
            for result in (result_of(out, name, seed, control) for seed in seeds(out, name, control)):
                for stream, title in titles.items():
                    title += f", {control} frames" if control else ""
                    found.setdefault(title, []).append(scores(result, stream))
    return table(found, PAPER)


if __name__ == "__main__":
    with exit_codes("two_stream_table"):
        main()
