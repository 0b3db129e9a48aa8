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

from vreid_jax import data, models
from vreid_jax.errors import InputError
from vreid_jax.experiment import dataset_builder
from vreid_jax.training.checkpoints import load_variables
from vreid_jax.training.network import normalisation, normalise
from vreid_jax.visualize.contact_sheet import contact_sheet
from vreid_jax.visualize.heat import attention_rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the picture; returns the exit code: 0, or 2 with one sentence on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(prog="vreid_jax.visualize.attention", description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="of a run of configs/nonlocal3d.py")
    parser.add_argument("--out", required=True, help="picture to write, .png or .jpg")
    parser.add_argument("--position", default="", help="FRAME,ROW,COLUMN in pixels; default: the chest in mid-clip")
    parser.add_argument("--block", default="", help="e.g. non_local2_3; default: the last of the finest stage")
    parser.add_argument("--dataset", default="", help="another one than the run's, e.g. walkers/jitter")
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
    out, workdir = Path(flags.out), Path(flags.workdir).expanduser()
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg") or not out.absolute().parent.is_dir():
        raise InputError(f"--out={flags.out} must end in .png or .jpg and lie in a folder that exists")
    if flags.tracklets < 1 or flags.seed < 0:
        raise InputError(f"--tracklets={flags.tracklets} must be at least 1, --seed={flags.seed} not negative")
    if not (workdir / "config.json").is_file():
        raise InputError(f"--workdir={flags.workdir} holds no run (no config.json)")
    config = ConfigDict(json.loads((workdir / "config.json").read_text()))
    if config.system != "nonlocal3d":
        raise InputError(f"--workdir={flags.workdir} holds a run of {config.system}, which has no non-local attention")
    position = _position(flags.position, config)
    variables = load_variables(workdir)
    own = {name: value for name, value in config.model.items() if name != "name"}
    module = models.create(config.model.name, num_classes=0, **own)
    builder = dataset_builder(config, flags.dataset)
    if flags.split not in builder.info.splits:
        raise InputError(f"the dataset has no split {flags.split!r}; it has {', '.join(builder.info.splits)}")
    source = data.TrackletSource(builder, flags.split)
    statistics = normalisation(config.data, models.entry(config.model.name))
    clip = config.evaluation.streams.clips.clip
    rows = []
    for row in sorted(np.random.default_rng(flags.seed).permutation(len(source))[: flags.tracklets].tolist()):
        numbers = data.split_clips(clip.kind, int(source.num_frames[row]), clip.length, clip.num_clips, clip.stride)[0]
        frames = data.resize(source.read(row, numbers), config.data.height, config.data.width)
        maps = module.attention_map(variables, normalise(frames[None], **statistics), position, flags.block)
        label = f"{flags.split} {source.tracklet_ids[row]}: pid {source.pids[row]}, camera {source.camids[row]}"
        rows += attention_rows(label, frames, np.asarray(maps[0]), position)
    cv2.imwrite(str(out), contact_sheet(rows, cell_height=192)[..., ::-1])
    print(f"{out}: {len(rows) // 2} tracklets, {flags.split}")


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
