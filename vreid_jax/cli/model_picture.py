"""What the commands share that draw what a trained model sees: their flags, the model's clips, and the file."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vreid_jax.cli.folder_fields import add_folder_arguments, folder_fields
from vreid_jax.errors import InputError

Draw = Callable[[str, Any], list]  # rows of a contact sheet from a label and frames [T, H, W, 3], uint8, resized
Artist = Callable[[Any, argparse.Namespace], Draw]  # from an `inference.Model` and the flags


def add_model_arguments(parser: argparse.ArgumentParser, systems: str) -> None:
    """Declare the flags that every such command has."""
    parser.add_argument("--workdir", required=True, help=f"of a run of {systems}")
    parser.add_argument("--out", required=True, help="picture to write, .png or .jpg")
    parser.add_argument("--dataset", default="", help="another one than the run's, e.g. walkers/jitter or folder")
    add_folder_arguments(parser)
    parser.add_argument("--split", default="query", help="of the dataset; default: query")
    parser.add_argument("--tracklets", type=int, default=3, help="how many, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")


def draw_tracklets(flags: argparse.Namespace, artist: Artist, cell_height: int) -> dict:
    """Draw random tracklets with `artist` and write the picture; return its path and what it shows."""
    import numpy as np

    from vreid_jax import data, inference
    from vreid_jax.config import dataset_name
    from vreid_jax.experiment.sources import dataset_builder
    from vreid_jax.visualize.contact_sheet import contact_sheet
    from vreid_jax.visualize.picture_file import write_picture

    check_out(Path(flags.out))
    if flags.tracklets < 1 or flags.seed < 0:
        raise InputError(f"--tracklets={flags.tracklets} must be at least 1, --seed={flags.seed} not negative")
    model = inference.load(flags.workdir)
    draw = artist(model, flags)
    fields, dataset = folder_fields(flags), flags.dataset or dataset_name(model.config)
    if fields and dataset != "folder":
        raise InputError(
            f"--path and --bad-frames are of the dataset folder, and not of {dataset}: add --dataset=folder"
        )
    with model.config.unlocked():
        model.config.data.update(fields)
    builder = dataset_builder(model.config, dataset)
    data.check_split(builder, flags.split)
    source = data.TrackletSource(builder, flags.split)
    clip = next(iter(model.config.evaluation.streams.values())).clip
    rows = []
    for row in sorted(np.random.default_rng(flags.seed).permutation(len(source))[: flags.tracklets].tolist()):
        numbers = data.split_clips(clip.kind, int(source.num_frames[row]), clip.length, clip.num_clips, clip.stride)[0]
        frames = data.resize(source.read(row, numbers), model.config.data.height, model.config.data.width)
        label = f"{flags.split} {source.tracklet_ids[row]}: pid {source.pids[row]}, camera {source.camids[row]}"
        rows += draw(label, frames)
    write_picture(flags.out, contact_sheet(rows, cell_height=cell_height))
    return {
        "out": flags.out,
        "tracklets": min(flags.tracklets, len(source)),
        "dataset": builder.info.full_name,
    }


def text(outcome: dict) -> str:
    """Return one line."""
    return f"{outcome['out']}: {outcome['tracklets']} tracklets of {outcome['dataset']}"


def check_out(out: Path) -> None:
    """Refuse a picture that cannot be written there."""
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg") or not out.absolute().parent.is_dir():
        raise InputError(f"--out={out} must end in .png or .jpg and lie in a folder that exists")
    check_free(out)


def check_free(out: Path) -> None:
    """Refuse to draw over a file."""
    if os.path.lexists(out):
        raise InputError(f"{out} exists already: name another file, or remove it")
