"""Compute the optical flow of a dataset, which two-stream networks read."""

import argparse

from vreid_jax.cli.folder_fields import add_folder_arguments, folder_fields
from vreid_jax.cli.numbers import whole
from vreid_jax.errors import InputError

EXAMPLE = "vreid data flow walkers/small"
INTERRUPTED = "interrupted; run the same command again to go on from what is computed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("name", help="walkers/small, mars, ilids_vid/split_0, folder, …")
    add_folder_arguments(parser)
    parser.add_argument(
        "--data-dir", "--data_dir", help="where datasets are built; default: $TFDS_DATA_DIR or ~/tensorflow_datasets"
    )
    parser.add_argument("--method", default="dis", help="dis (default) or farneback, as data.flow of a configuration")
    parser.add_argument("--processes", type=whole, default=0, help="that compute; default: one for each core")
    parser.add_argument("--quiet", action="store_true", help="show no bar")


def run(flags: argparse.Namespace) -> dict:
    """Compute what is missing; return for each split what it has, and where."""
    import time

    from vreid_jax.config import DATASETS
    from vreid_jax.config.inputs import FLOW_METHODS
    from vreid_jax.data import TrackletSource
    from vreid_jax.datasets import load_builder
    from vreid_jax.experiment.flow import flow_summary, store_flow

    if flags.method not in FLOW_METHODS:
        raise InputError(f"--method={flags.method} is one of {', '.join(FLOW_METHODS)}")
    if flags.processes < 0:
        raise InputError(f"--processes={flags.processes} must not be negative")
    given: str = flags.name
    name = DATASETS.get(given, given)
    builder = load_builder(name, flags.data_dir, progress=not flags.quiet, **folder_fields(flags))
    splits = {}
    for split in builder.info.splits:
        source, started = TrackletSource(builder, split, progress=not flags.quiet), time.perf_counter()
        store_flow(source, flags.method, progress=not flags.quiet, processes=flags.processes or None)
        splits[split] = flow_summary(source, started)
    return {"dataset": builder.info.full_name, "method": flags.method, "splits": splits}


def text(outcome: dict) -> str:
    """Return a line for each split."""
    return "\n".join(
        f"{split}: {found['fields']:,} fields of {found['tracklets']:,} tracklets, {found['bytes'] / 1e6:,.1f} MB, "
        f"in {found['seconds']:.1f} s, at {found['path']}"
        for split, found in outcome["splits"].items()
    )
