"""The command that draws a trained network's part maps, or its responses layer by layer, over frames.

python -m vreid_jax.visualize.responses --workdir=runs/person_vlad-walkers --out=maps.png [--layers] [--dataset=…]
"""

import functools
import sys
from collections.abc import Sequence

import jax

from vreid_jax.cli import model_picture
from vreid_jax.errors import InputError
from vreid_jax.training.network import Network
from vreid_jax.visualize.heat import part_map_rows, response_rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the picture; returns the exit code: 0, or 2 with one sentence on stderr where the input is at fault."""
    parser = model_picture.flags_of("responses", __doc__.splitlines()[0], "configs/person_vlad.py")
    parser.add_argument("--layers", action="store_true", help="responses of every layer instead of the part maps")
    return model_picture.run(parser, arguments, _artist, cell_height=128)


def _artist(model, flags):
    stream = next(iter(model.config.evaluation.streams.values()))
    apply = jax.jit(functools.partial(Network(model.module, model.mean, model.std), **stream.apply))

    def draw(label, frames):
        outputs = jax.device_get(apply(model.variables, frames[None]))
        if flags.layers:
            layers = {name: outputs[name][0] for name in sorted(outputs) if name.startswith(("conv", "res", "stem"))}
            return response_rows(label, frames, layers)
        if "part_maps" not in outputs:
            raise InputError(f"the run's model {model.name!r} has no part maps; --layers draws its layers")
        return part_map_rows(label, frames, outputs["part_maps"][0])

    return draw


if __name__ == "__main__":
    sys.exit(main())
