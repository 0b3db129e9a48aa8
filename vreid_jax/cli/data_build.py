"""Build a dataset that needs nothing but its name."""

import argparse

from vreid_jax.cli import build_work

EXAMPLE = "vreid data build walkers/small"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("name", help="walkers/tiny, walkers/small, …")
    parser.add_argument(
        "--data-dir", "--data_dir", help="where datasets are built; default: $TFDS_DATA_DIR or ~/tensorflow_datasets"
    )
    build_work.add_arguments(parser)


def run(flags: argparse.Namespace) -> dict:
    """Build the dataset; return its folder and the number of tracklets in each split."""
    from vreid_jax.datasets import load_builder

    builder = load_builder(flags.name, flags.data_dir, work=build_work.chosen(flags))
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    return {"dataset": flags.name, "path": str(builder.data_path), "tracklets": counts}


def text(outcome: dict) -> str:
    """Return one line."""
    counts = ", ".join(f"{split} {count}" for split, count in outcome["tracklets"].items())
    return f"{outcome['path']}: tracklets {counts}"
