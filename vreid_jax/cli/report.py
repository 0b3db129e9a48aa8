"""Write one HTML page of an evaluated run or of a gallery, or one that compares several runs."""

import argparse
from pathlib import Path

from vreid_jax.cli.numbers import decimal, whole
from vreid_jax.errors import InputError
from vreid_jax.files import given_path

EXAMPLE = """vreid report runs/m3d-walkers
  vreid report gallery.parquet"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "source",
        nargs="+",
        help="folder of an evaluated run, several of them to compare, or a gallery: a file (.parquet), or a folder or address of them",
    )
    parser.add_argument(
        "--out",
        help="file to write; default: report.html in the workdir, comparison.html for several, beside a gallery",
    )
    parser.add_argument("--queries", type=whole, default=24, help="how many ranked lists; of a run half are failures")
    parser.add_argument(
        "--query", action="append", default=[], help="of a gallery: a tracklet_id to ask for; repeatable"
    )
    parser.add_argument(
        "--false-accept-rate", type=decimal, default=0.01, help="of a gallery: of the decision, a fraction"
    )
    parser.add_argument("--other-cameras", action="store_true", help="of a gallery: find only what another camera saw")
    parser.add_argument("--blur-faces", action="store_true", help="of a gallery: blur the heads in all pictures")
    parser.add_argument("--data-dir", help="where datasets are, if not where the run found them")


def run(flags: argparse.Namespace) -> dict:
    """Write the page; return its path and size."""
    from vreid_jax import report
    from vreid_jax.search.address import holds_galleries

    if flags.out and given_path(flags.out).suffix not in (".html", ".htm"):
        raise InputError(f"--out={flags.out} has to end in .html")
    is_gallery = holds_galleries(flags.source[0]) and not (Path(flags.source[0]) / "config.json").exists()  # of a run
    if not is_gallery and (flags.query or flags.other_cameras or flags.blur_faces):
        raise InputError(
            f"--query, --other-cameras and --blur-faces are of a gallery (.parquet), and {flags.source[0]} is a run"
        )
    if is_gallery:
        if len(flags.source) > 1:
            raise InputError("runs are compared, galleries have a page each: give one gallery")
        path = report.write_gallery_report(
            flags.source[0],
            flags.out,
            num_queries=flags.queries,
            queries=flags.query,
            false_accept_rate=flags.false_accept_rate,
            other_cameras=flags.other_cameras,
            data_dir=flags.data_dir,
            blur_faces=flags.blur_faces,
        )
    elif len(flags.source) > 1:
        path = report.write_comparison(flags.source, flags.out or "comparison.html")
    else:
        path = report.write_report(flags.source[0], flags.out, num_queries=flags.queries, data_dir=flags.data_dir)
    return {"out": str(path), "bytes": path.stat().st_size}


def text(outcome: dict) -> str:
    """Return one line."""
    return f"{outcome['out']}: {outcome['bytes'] / 1e6:.1f} MB, open it in any browser"
