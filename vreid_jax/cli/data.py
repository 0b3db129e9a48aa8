"""Datasets: build or prepare one, cut tracklets out of a video, look at one."""

import argparse
import sys
from collections.abc import Callable

from vreid_jax.errors import InputError

HELP = """usage: vreid data build NAME [--data-dir=DIR] | prepare … | video … | show …

Datasets: `build` makes one that needs nothing but its name, `prepare` checks and builds one of the published ones
from files that you have, `video` cuts tracklets out of a tracked video for training,
`show` writes a contact sheet; each with --help.

example:
  vreid data build walkers/small
  vreid data prepare mars --manual_dir=FOLDER --check-only
  vreid data video vtest.avi vtest_tracks.txt people --halves-as-cameras
  vreid data show walkers/small --out=sheet.png"""


def forward(arguments: list[str]) -> int:
    """Hand the arguments to the command that is named."""
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help"):
        print(HELP)
        return 0
    commands: dict[str, Callable[[list[str]], int]] = {
        "build": _build,
        "prepare": _prepare,
        "video": _video,
        "show": _show,
    }
    if name not in commands:
        print(f"vreid data: say one of {', '.join(commands)}, not {name!r}", file=sys.stderr)
        return 2
    try:
        return commands[name](arguments[1:])
    except SystemExit as leaving:
        return int(leaving.code or 0)


def _prepare(arguments: list[str]) -> int:
    from vreid_jax.cli import data_prepare as prepare_command

    return prepare_command.main(arguments, "vreid data prepare")


def _video(arguments: list[str]) -> int:
    from vreid_jax.cli import data_video as video_command

    return video_command.main(arguments, "vreid data video")


def _show(arguments: list[str]) -> int:
    from vreid_jax.cli import data_show as show

    return show.main(arguments, "vreid data show")


def _build(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="vreid data build", description="Prepares a dataset by its name.")
    parser.add_argument("name", help="walkers/tiny, walkers/small, …")
    parser.add_argument("--data-dir", help="where datasets are built; default: $TFDS_DATA_DIR or ~/tensorflow_datasets")
    flags = parser.parse_args(arguments)
    from vreid_jax.datasets import load_builder

    try:
        builder = load_builder(flags.name, flags.data_dir)
    except InputError as error:
        print(f"vreid data build: {error}", file=sys.stderr)
        return 2
    counts = ", ".join(f"{split} {info.num_examples}" for split, info in builder.info.splits.items())
    print(f"{builder.data_path}: tracklets {counts}")
    return 0
