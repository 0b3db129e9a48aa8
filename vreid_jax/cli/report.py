"""Write one HTML page of an evaluated run, or one that compares several."""

import argparse
from pathlib import Path

from vreid_jax.errors import InputError

EXAMPLE = "vreid report runs/m3d-walkers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("workdir", nargs="+", help="folder of an evaluated run; several are compared")
    parser.add_argument("--out", help="file to write; default: report.html in the workdir, comparison.html for several")
    parser.add_argument("--queries", type=int, default=24, help="how many ranked lists, half of them failures")
    parser.add_argument("--data-dir", help="where datasets are, if not where the run found them")


def run(flags: argparse.Namespace) -> dict:
    """Write the page; returns its path and size."""
    from vreid_jax import report

    if flags.out and Path(flags.out).suffix not in (".html", ".htm"):
        raise InputError(f"--out={flags.out} has to end in .html")
    if len(flags.workdir) > 1:
        path = report.write_comparison(flags.workdir, flags.out or "comparison.html")
    else:
        path = report.write_report(flags.workdir[0], flags.out, num_queries=flags.queries, data_dir=flags.data_dir)
    return {"out": str(path), "bytes": path.stat().st_size}


def text(outcome: dict) -> str:
    """One line."""
    return f"{outcome['out']}: {outcome['bytes'] / 1e6:.1f} MB, open it in any browser"
