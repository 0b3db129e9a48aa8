"""The command that writes a dataset's contact sheet."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from vreid_jax.datasets import load_builder
from vreid_jax.errors import InputError
from vreid_jax.visualize.contact_sheet import contact_sheet, random_rows, walkers_rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the sheet; returns the exit code: 0, or 2 with one sentence on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(prog="show.py", description="Writes a contact sheet of a dataset.")
    parser.add_argument("dataset", help="walkers/small, folder, …")
    parser.add_argument("--out", required=True, help="picture to write, .png or .jpg")
    parser.add_argument("--path", help="of the dataset folder")
    parser.add_argument("--data-dir", help="where datasets are built; default: $TFDS_DATA_DIR or ~/tensorflow_datasets")
    parser.add_argument("--split", help="random tracklets of this split instead of what the dataset is about")
    parser.add_argument("--tracklets", type=int, default=12, help="how many random tracklets")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(arguments)
    try:
        _write(flags)
    except InputError as error:
        print(f"show.py: {error}", file=sys.stderr)
        return 2
    return 0


def _write(flags: argparse.Namespace) -> None:
    out = Path(flags.out)
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"--out={flags.out} must end in .png or .jpg")
    if not out.absolute().parent.is_dir():
        raise InputError(f"the folder of --out={flags.out} does not exist")
    if flags.tracklets < 1:
        raise InputError(f"--tracklets={flags.tracklets} must be at least 1")
    if flags.seed < 0:
        raise InputError(f"--seed={flags.seed} must not be negative")
    builder = load_builder(flags.dataset, data_dir=flags.data_dir, **({"path": flags.path} if flags.path else {}))
    if builder.name == "walkers" and flags.split is None:
        rows = walkers_rows(builder.plan, flags.seed)
    else:
        rows = random_rows(builder, flags.split or "train", flags.tracklets, flags.seed)
    cv2.imwrite(str(out), contact_sheet(rows)[..., ::-1])
    print(f"{out}: {len(rows)} tracklets of {builder.info.full_name}")
