"""The command that shows what is in a dataset: a contact sheet, or an animated picture."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vreid_jax.datasets import load_builder
from vreid_jax.errors import InputError
from vreid_jax.visualize.animation import SUFFIXES, animation, write_animation
from vreid_jax.visualize.contact_sheet import contact_sheet, random_rows, walkers_rows
from vreid_jax.visualize.picture_file import write_picture


def main(arguments: Sequence[str] | None = None, prog: str = "show.py") -> int:
    """Writes the picture; returns the exit code: 0, or 2 with one sentence on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(
        prog=prog, description="Writes a contact sheet, or an animated picture, of a dataset."
    )
    parser.add_argument("dataset", help="walkers/small, folder, …")
    parser.add_argument("--out", required=True, help=".png or .jpg for a sheet, .gif or .webp for an animation")
    parser.add_argument("--path", help="of the dataset folder")
    parser.add_argument(
        "--data-dir", "--data_dir", help="where datasets are built; default: $TFDS_DATA_DIR or ~/tensorflow_datasets"
    )
    parser.add_argument("--split", help="random tracklets of this split instead of what the dataset is about")
    parser.add_argument("--tracklets", type=int, default=12, help="how many random tracklets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fps", type=float, default=10.0, help="frames a second of an animation")
    flags = parser.parse_args(arguments)
    try:
        _write(flags)
    except InputError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    return 0


def _write(flags: argparse.Namespace) -> None:
    out = Path(flags.out)
    moving = out.suffix.lower() in SUFFIXES
    if not moving and out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"--out={flags.out} must end in .png or .jpg, or in .gif or .webp for an animation")
    if not out.absolute().parent.is_dir():
        raise InputError(f"the folder of --out={flags.out} does not exist")
    if flags.tracklets < 1:
        raise InputError(f"--tracklets={flags.tracklets} must be at least 1")
    if not flags.fps > 0:
        raise InputError(f"--fps={flags.fps} must be positive")
    if flags.seed < 0:
        raise InputError(f"--seed={flags.seed} must not be negative")
    builder = load_builder(flags.dataset, data_dir=flags.data_dir, **({"path": flags.path} if flags.path else {}))
    if builder.name == "walkers" and flags.split is None:
        rows = walkers_rows(builder.plan, flags.seed)
    else:
        rows = random_rows(builder, flags.split or "train", flags.tracklets, flags.seed, whole=moving)
    if moving:
        write_animation(out, animation(rows), flags.fps)
    else:
        write_picture(out, contact_sheet(rows))
    print(f"{out}: {len(rows)} tracklets of {builder.info.full_name}")
