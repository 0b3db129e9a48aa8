"""The command that draws a trained network's part maps, or its responses layer by layer, over frames.

python -m vreid_jax.visualize.responses --workdir=runs/person_vlad-walkers --out=maps.png [--layers] [--dataset=…]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import jax
import numpy as np
from ml_collections import ConfigDict

from vreid_jax import data, models
from vreid_jax.datasets import load_builder
from vreid_jax.errors import InputError
from vreid_jax.training.checkpoints import load_variables
from vreid_jax.training.network import Network
from vreid_jax.visualize.contact_sheet import contact_sheet
from vreid_jax.visualize.heat import part_map_rows, response_rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the picture; returns the exit code: 0, or 2 with one sentence on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(prog="responses", description="Draws what a trained network responds to.")
    parser.add_argument("--workdir", required=True, help="of a finished run of configs/person_vlad.py")
    parser.add_argument("--out", required=True, help="picture to write, .png or .jpg")
    parser.add_argument("--layers", action="store_true", help="responses of every layer instead of the part maps")
    parser.add_argument("--dataset", help="another one than the run's, e.g. folder")
    parser.add_argument("--path", help="of the dataset folder")
    parser.add_argument("--split", default="query")
    parser.add_argument("--tracklets", type=int, default=3, help="how many, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(arguments)
    try:
        _write(flags)
    except InputError as error:
        print(f"responses: {error}", file=sys.stderr)
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
    entry = models.entry(config.model.name)
    fields = {name: value for name, value in config.model.items() if name != "name"}
    network = Network(models.create(config.model.name, **fields), entry.mean, entry.std)
    variables = load_variables(workdir)
    path = flags.path or config.data.path
    builder = load_builder(
        flags.dataset or config.data.name, config.data.data_dir or None, **({"path": path} if path else {})
    )
    if flags.split not in builder.info.splits:
        raise InputError(f"the dataset has no split {flags.split!r}; it has {', '.join(builder.info.splits)}")
    source = data.TrackletSource(builder, flags.split)
    (stream, *_) = config.evaluation.streams.values()
    apply = jax.jit(lambda frames: network(variables, frames, **stream.apply.to_dict()))
    rows = []
    for row in sorted(np.random.default_rng(flags.seed).permutation(len(source))[: flags.tracklets].tolist()):
        numbers = data.split_clips("evenly", int(source.num_frames[row]), stream.clip.length, 1)[0]
        frames = source.read(row, numbers)
        outputs = jax.device_get(apply(data.resize(frames, config.data.height, config.data.width)[None]))
        label = f"{flags.split} {source.tracklet_ids[row]}: pid {source.pids[row]}, camera {source.camids[row]}"
        if flags.layers:
            layers = {name: outputs[name][0] for name in sorted(outputs) if name.startswith(("conv", "res", "stem"))}
            rows += response_rows(label, frames, layers)
        elif "part_maps" not in outputs:
            raise InputError(f"the run's model {config.model.name!r} has no part maps; --layers draws its layers")
        else:
            rows += part_map_rows(label, frames, outputs["part_maps"][0])
    cv2.imwrite(str(out), contact_sheet(rows)[..., ::-1])
    print(f"{out}: {flags.tracklets} tracklets of {builder.info.full_name}")


if __name__ == "__main__":
    sys.exit(main())
