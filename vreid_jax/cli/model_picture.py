"""What the commands share that picture what a trained model sees: their flags, its clips and the file."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vreid_jax import data, inference
from vreid_jax.errors import InputError
from vreid_jax.experiment.sources import dataset_builder
from vreid_jax.visualize.contact_sheet import Row, contact_sheet
from vreid_jax.visualize.picture_file import write_picture

Draw = Callable[[str, np.ndarray], list[Row]]  # of a label and frames [T, H, W, 3], uint8 at the model's size
Artist = Callable[[inference.Model, argparse.Namespace], Draw]


def flags_of(command: str, description: str, systems: str) -> argparse.ArgumentParser:
    """The flags that every such command has."""
    parser = argparse.ArgumentParser(prog=f"vreid_jax.visualize.{command}", description=description)
    parser.add_argument("--workdir", required=True, help=f"of a run of {systems}")
    parser.add_argument("--out", required=True, help="picture to write, .png or .jpg")
    parser.add_argument("--dataset", default="", help="another one than the run's, e.g. walkers/jitter or folder")
    parser.add_argument("--path", default="", help="of the dataset folder")
    parser.add_argument("--split", default="query")
    parser.add_argument("--tracklets", type=int, default=3, help="how many, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None, artist: Artist, cell_height: int) -> int:
    """Writes the picture; returns the exit code: 0, or 2 with one sentence on stderr where the input is at fault."""
    flags = parser.parse_args(arguments)
    try:
        _write(flags, artist, cell_height)
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


def check_out(out: Path) -> None:
    """Refuse a picture that cannot be written there."""
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg") or not out.absolute().parent.is_dir():
        raise InputError(f"--out={out} must end in .png or .jpg and lie in a folder that exists")


def _write(flags: argparse.Namespace, artist: Artist, cell_height: int) -> None:
    check_out(Path(flags.out))
    if flags.tracklets < 1 or flags.seed < 0:
        raise InputError(f"--tracklets={flags.tracklets} must be at least 1, --seed={flags.seed} not negative")
    model = inference.load(flags.workdir)
    draw = artist(model, flags)
    if flags.path:
        with model.config.unlocked():
            model.config.data.path = flags.path
    builder = dataset_builder(model.config, flags.dataset)
    if flags.split not in builder.info.splits:
        raise InputError(f"the dataset has no split {flags.split!r}; it has {', '.join(builder.info.splits)}")
    source = data.TrackletSource(builder, flags.split)
    clip = next(iter(model.config.evaluation.streams.values())).clip
    rows = []
    for row in sorted(np.random.default_rng(flags.seed).permutation(len(source))[: flags.tracklets].tolist()):
        numbers = data.split_clips(clip.kind, int(source.num_frames[row]), clip.length, clip.num_clips, clip.stride)[0]
        frames = data.resize(source.read(row, numbers), model.config.data.height, model.config.data.width)
        label = f"{flags.split} {source.tracklet_ids[row]}: pid {source.pids[row]}, camera {source.camids[row]}"
        rows += draw(label, frames)
    write_picture(flags.out, contact_sheet(rows, cell_height=cell_height))
    print(f"{flags.out}: {min(flags.tracklets, len(source))} tracklets of {builder.info.full_name}")
