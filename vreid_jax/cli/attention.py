"""The command that pictures the non-local attention of a trained workdir.

`python -m vreid_jax.visualize.attention --workdir=runs/nonlocal3d-walkers --out=attention.png`
"""

import sys
from collections.abc import Sequence

import numpy as np

from vreid_jax.cli import model_picture
from vreid_jax.errors import InputError
from vreid_jax.training.network import normalise
from vreid_jax.visualize.heat import attention_rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the picture; returns the exit code: 0, or 2 with one sentence on stderr where the input is at fault."""
    parser = model_picture.flags_of("attention", __doc__.splitlines()[0], "configs/nonlocal3d.py")
    parser.add_argument("--position", default="", help="FRAME,ROW,COLUMN in pixels; default: the chest in mid-clip")
    parser.add_argument("--block", default="", help="e.g. non_local2_0; default: the last of the finest stage")
    return model_picture.run(parser, arguments, _artist, cell_height=192)


def _artist(model, flags):
    if not hasattr(model.module, "attention_map"):
        raise InputError(f"--workdir={flags.workdir} holds a run of {model.name}, which has no non-local attention")

    def draw(label, frames):
        position = _position(flags.position, frames)
        clips = normalise(frames[None], model.mean, model.std)
        maps = model.module.attention_map(model.variables, clips, position, flags.block)
        return attention_rows(label, frames, np.asarray(maps[0], np.float32), position)

    return draw


def _position(text: str, frames: np.ndarray) -> tuple[int, int, int]:
    if not text:
        return len(frames) // 2, frames.shape[1] * 2 // 5, frames.shape[2] // 2
    try:
        frame, row, column = map(int, text.split(","))
    except ValueError as error:
        raise InputError(f"--position={text} is no FRAME,ROW,COLUMN") from error
    return frame, row, column


if __name__ == "__main__":
    sys.exit(main())
