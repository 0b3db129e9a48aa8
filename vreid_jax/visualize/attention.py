"""The command that pictures the non-local attention of a trained workdir.

`python -m vreid_jax.visualize.attention --workdir=runs/nonlocal3d-walkers --out=attention.png`
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from ml_collections import ConfigDict

from vreid_jax.errors import InputError
from vreid_jax.visualize.attention_picture import attention_picture


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the picture; returns the exit code: 0, or 2 with one sentence on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(prog="vreid_jax.visualize.attention", description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="of a run of configs/nonlocal3d.py")
    parser.add_argument("--out", required=True, help="picture to write, .png or .jpg")
    parser.add_argument("--position", default="", help="FRAME,ROW,COLUMN in pixels; default: the chest in mid-clip")
    parser.add_argument("--block", default="", help="e.g. non_local2_3; default: the last of the finest stage")
    parser.add_argument("--dataset", default="", help="default: that of the run")
    parser.add_argument("--path", default="", help="of the dataset folder")
    parser.add_argument("--split", default="query")
    parser.add_argument("--tracklets", type=int, default=3, help="how many, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(arguments)
    try:
        _write(flags)
    except InputError as error:
        print(f"vreid_jax.visualize.attention: {error}", file=sys.stderr)
        return 2
    return 0


def _write(flags: argparse.Namespace) -> None:
    from vreid_jax import data, models
    from vreid_jax.config import dataset_name
    from vreid_jax.datasets import load_builder
    from vreid_jax.training.checkpoints import load_variables
    from vreid_jax.training.step import normalise

    out, workdir = Path(flags.out), Path(flags.workdir).expanduser()
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg") or not out.absolute().parent.is_dir():
        raise InputError(f"--out={flags.out} must end in .png or .jpg, in a folder that exists")
    if not (workdir / "config.json").is_file():
        raise InputError(f"--workdir={flags.workdir} holds no run")
    if flags.tracklets < 1 or flags.seed < 0:
        raise InputError(f"--tracklets={flags.tracklets} must be at least 1, --seed={flags.seed} not negative")
    config = ConfigDict(json.loads((workdir / "config.json").read_text()))
    if config.system != "nonlocal3d":
        raise InputError(f"--workdir={flags.workdir} holds a run of {config.system}, which has no non-local attention")
    position = _position(flags.position, config)
    variables = load_variables(workdir)
    own = {name: value for name, value in config.model.items() if name != "name"}
    num_classes = len(variables["params"]["head"]["classifier"]["bias"])
    module = models.create(config.model.name, num_classes=num_classes, **own)
    name = flags.dataset or dataset_name(config)
    path = {"path": flags.path or config.data.path} if name == "folder" else {}
    source = data.TrackletSource(load_builder(name, config.data.data_dir or None, **path), flags.split)
    entry = models.entry(config.model.name)
    mean, std = tuple(config.data.mean) or entry.mean, tuple(config.data.std) or entry.std
    clip = config.evaluation.streams.clips.clip
    rows = []
    for row in np.random.default_rng(flags.seed).permutation(len(source))[: flags.tracklets]:
        numbers = data.split_clips(clip.kind, int(source.num_frames[row]), clip.length, clip.num_clips, clip.stride)[0]
        frames = data.resize(source.read(int(row), numbers), config.data.height, config.data.width)
        maps = module.attention_map(variables, normalise(frames[None], mean, std), position, flags.block)
        rows += [attention_picture(frames, np.asarray(maps[0]), position), np.full((12, 1, 3), 255, np.uint8)]
    wide = max(row.shape[1] for row in rows)
    picture = np.concatenate([np.resize(r, (len(r), wide, 3)) if r.shape[1] == 1 else r for r in rows[:-1]])
    cv2.imwrite(str(out), picture[..., ::-1])
    print(f"{out}: {len(rows) // 2} tracklets of {name}, {flags.split}")


def _position(text: str, config) -> tuple[int, int, int]:
    length = config.evaluation.streams.clips.clip.length
    if not text:
        return length // 2, config.data.height * 2 // 5, config.data.width // 2
    try:
        frame, row, column = map(int, text.split(","))
    except ValueError as error:
        raise InputError(f"--position={text} is no FRAME,ROW,COLUMN") from error
    return frame, row, column


if __name__ == "__main__":
    sys.exit(main())
