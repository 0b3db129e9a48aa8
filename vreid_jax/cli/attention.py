"""Draw the non-local attention of a trained network over frames."""

import argparse

from vreid_jax.cli.model_picture import add_model_arguments, draw_tracklets, text
from vreid_jax.errors import InputError

__all__ = ["EXAMPLE", "add_arguments", "run", "text"]

EXAMPLE = "vreid attention --workdir=runs/nonlocal3d-walkers --out=attention.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_model_arguments(parser, "nonlocal3d")
    parser.add_argument("--position", default="", help="FRAME,ROW,COLUMN in pixels; default: the chest in mid-clip")
    parser.add_argument("--block", default="", help="e.g. non_local2_0; default: the last of the finest stage")


def run(flags: argparse.Namespace) -> dict:
    """Write the picture; return its path and what it shows."""
    return draw_tracklets(flags, _artist, cell_height=192)


def _artist(model, flags):
    import numpy as np

    from vreid_jax.training.network import normalise
    from vreid_jax.visualize.heat import attention_rows

    if not hasattr(model.module, "attention_map"):
        raise InputError(f"--workdir={flags.workdir} holds a run of {model.name}, which has no non-local attention")

    def draw(label, frames):
        position = _position(flags.position, frames)
        clips = normalise(frames[None], model.mean, model.std)
        maps = model.module.attention_map(model.variables, clips, position, flags.block)
        return attention_rows(label, frames, np.asarray(maps[0], np.float32), position)

    return draw


def _position(given: str, frames) -> tuple[int, int, int]:
    if not given:
        return len(frames) // 2, frames.shape[1] * 2 // 5, frames.shape[2] // 2
    try:
        frame, row, column = map(int, given.split(","))
    except ValueError as error:
        raise InputError(f"--position={given} is not FRAME,ROW,COLUMN") from error
    return frame, row, column
