"""The flags of commands that build a dataset: who draws or reads its tracklets."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vreid_jax.cli.numbers import whole

if TYPE_CHECKING:
    from vreid_jax.datasets.loading import Work


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--processes", type=whole, help="that draw or read tracklets; default: one a core")
    parser.add_argument(
        "--beam-pipeline-options", "--beam_pipeline_options", default="",
        help="build with Apache Beam instead: runner=DirectRunner,direct_num_workers=4 or those of a cluster",
    )  # fmt: skip


def chosen(flags: argparse.Namespace) -> Work:
    """Return what the flags say."""
    from vreid_jax.datasets.loading import Work

    return Work(flags.processes, flags.beam_pipeline_options)
