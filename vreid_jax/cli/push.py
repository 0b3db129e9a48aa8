"""Write the tracklets of galleries into a database that grows; what it has already stays as it is."""

from __future__ import annotations

import argparse
import dataclasses

EXAMPLE = """vreid push gallery.parquet town.lance
  vreid push archive s3://bucket/town.lance"""
INTERRUPTED = "interrupted; give the same command again to finish it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("gallery", help="file that `vreid embed` wrote, or a folder or address of such files")
    parser.add_argument(
        "address", help="of the database: a path, s3://… or gs://… that ends in .lance; made if need be"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(flags: argparse.Namespace) -> dict:
    """Push; return what was written."""
    from vreid_jax.archives import approximate, database
    from vreid_jax.search.gallery_files import open_files

    files = open_files(flags.gallery)
    pushed = database.push(files, flags.address, progress=not flags.quiet)
    recall = approximate.maintain(database.open_database(flags.address))
    return {
        "gallery": flags.gallery,
        "database": flags.address,
        **dataclasses.asdict(pushed),
        "recall": None if recall is None else dataclasses.asdict(recall),
    }


def text(outcome: dict) -> str:
    """Return a few lines."""
    lines = [
        f"{outcome['database']}: {outcome['inserted']} tracklets added, {outcome['changed']} changed, "
        f"{outcome['unchanged']} as they were; {outcome['rows']} in all"
    ]
    if recall := outcome["recall"]:
        lines.append(
            f"its index finds {100 * recall['share']:.1f} % of the ten nearest, measured on {recall['queries']} of its tracklets"
        )
    return "\n".join(lines)
