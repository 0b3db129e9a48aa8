"""The flags of commands that read the dataset `folder`: where it is, and what becomes of its unreadable pictures."""

import argparse
from typing import Any


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument("--path", help="of the dataset folder")
    parser.add_argument(
        "--bad-frames",
        "--bad_frames",
        help="of the dataset folder: error (default) or skip, as data.bad_frames of the run",
    )


def folder_fields(flags: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the dataset that were given."""
    return {name: value for name in ("path", "bad_frames") if (value := getattr(flags, name))}
