"""Draw a trained network's part maps, or its responses layer by layer, over frames."""

import argparse
from collections.abc import Iterable

from vreid_jax.cli.model_picture import add_model_arguments, draw_tracklets, text
from vreid_jax.errors import InputError

__all__ = ["EXAMPLE", "add_arguments", "run", "text"]

EXAMPLE = """vreid responses --workdir=runs/person_vlad-walkers --out=part_maps.png
  vreid responses --workdir=runs/person_vlad-walkers --out=responses.png --layers"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_model_arguments(parser, "person_vlad")
    parser.add_argument("--layers", action="store_true", help="responses of every layer instead of the part maps")


def run(flags: argparse.Namespace) -> dict:
    """Write the picture; return its path and what it shows."""
    return draw_tracklets(flags, _artist, cell_height=128)


def layers(outputs: Iterable[str]) -> list[str]:
    """Return those of a network's outputs that are maps of a layer, from the first one to the last."""
    found = (name for name in outputs if name.lower().startswith(("stem", "conv", "res", "mixed")))
    return sorted(found, key=lambda name: (name != "stem", name))


def _artist(model, flags):
    import functools

    import jax

    from vreid_jax.training.network import Network
    from vreid_jax.visualize.heat import part_map_rows, response_rows

    stream = next(iter(model.config.evaluation.streams.values()))
    apply = jax.jit(functools.partial(Network(model.module, model.mean, model.std), **stream.apply))

    def draw(label, frames):
        outputs = jax.device_get(apply(model.variables, frames[None]))
        if flags.layers:
            names = layers(outputs)
            if not names:
                raise InputError(f"the run's model {model.name!r} names no layers that could be drawn")
            return response_rows(label, frames, {name: outputs[name][0] for name in names})
        if "part_maps" not in outputs:
            raise InputError(f"the run's model {model.name!r} has no part maps; --layers draws its layers")
        return part_map_rows(label, frames, outputs["part_maps"][0])

    return draw
