"""Show what is in a dataset: a contact sheet, or an animated picture."""

import argparse
from pathlib import Path

from vreid_jax.cli.folder_fields import add_folder_arguments, folder_fields
from vreid_jax.cli.model_picture import check_free
from vreid_jax.errors import InputError

EXAMPLE = "vreid data show walkers/small --out=sheet.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("dataset", help="walkers/small, folder, …")
    parser.add_argument("--out", required=True, help=".png or .jpg for a sheet, .gif or .webp for an animation")
    add_folder_arguments(parser)
    parser.add_argument(
        "--data-dir", "--data_dir", help="where datasets are built; default: $TFDS_DATA_DIR or ~/tensorflow_datasets"
    )
    parser.add_argument("--split", help="random tracklets of this split instead of what the dataset is about")
    parser.add_argument("--tracklets", type=int, default=12, help="how many random tracklets")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
    parser.add_argument("--fps", type=float, default=10.0, help="frames a second of an animation")


def run(flags: argparse.Namespace) -> dict:
    """Write the picture; return its path and what it shows."""
    from vreid_jax.datasets import load_builder
    from vreid_jax.datasets.walkers.walkers_dataset_builder import Builder as Walkers
    from vreid_jax.datasets.walkers.wild_plan import WildPlan
    from vreid_jax.visualize.animation import SUFFIXES, animation, write_animation
    from vreid_jax.visualize.contact_sheet import contact_sheet, random_rows, walkers_rows, wild_rows
    from vreid_jax.visualize.picture_file import write_picture

    out = Path(flags.out)
    moving = out.suffix.lower() in SUFFIXES
    _check(flags, out, moving)
    builder = load_builder(flags.dataset, data_dir=flags.data_dir, **folder_fields(flags))
    if isinstance(builder, Walkers) and flags.split is None:
        plan = builder.plan
        rows = wild_rows(plan, flags.seed) if isinstance(plan, WildPlan) else walkers_rows(plan, flags.seed)
    else:
        split = flags.split or ("train" if "train" in builder.info.splits else "gallery")  # a folder may have no train
        rows = random_rows(builder, split, flags.tracklets, flags.seed, whole=moving)
    if moving:
        write_animation(out, animation(rows), flags.fps)
    else:
        write_picture(out, contact_sheet(rows))
    return {"out": str(out), "tracklets": len(rows), "dataset": builder.info.full_name}


def text(outcome: dict) -> str:
    """Return one line."""
    return f"{outcome['out']}: {outcome['tracklets']} tracklets of {outcome['dataset']}"


def _check(flags: argparse.Namespace, out: Path, moving: bool) -> None:
    if not moving and out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"--out={flags.out} must end in .png or .jpg, or in .gif or .webp for an animation")
    if not out.absolute().parent.is_dir():
        raise InputError(f"the folder of --out={flags.out} does not exist")
    check_free(out)
    if flags.tracklets < 1:
        raise InputError(f"--tracklets={flags.tracklets} must be at least 1")
    if not flags.fps > 0:
        raise InputError(f"--fps={flags.fps} must be positive")
    if flags.seed < 0:
        raise InputError(f"--seed={flags.seed} must not be negative")
