"""Measure the recipe's feature extraction in frames per second, as in Table X, beside the paper's figures on a Titan X.

    python benchmarks/person_vlad_speed.py [--clips=4] [--repeats=5] [--dtype=float32]

C3D is the paper's row, through fc7 on frames of 112x112, and once more without its fully connected layers at the size
of PersonVLAD, which is these convolutions and what follows them.
"""

import argparse
import statistics
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from operations import matrix_operations

from vreid_jax import models
from vreid_jax.config import from_file
from vreid_jax.runtime import setup_process
from vreid_jax.training.network import Network

LENGTH = 16  # frames of a clip


class Line(NamedTuple):
    """A line of the table.

    Attributes:
      title: what it is called.
      size: height and width of the frames.
      stream: of the network, None for the whole.
      fully_connected: whether C3D has fc6 and fc7.
      paper: frames per second on a Titan X and mAP on MARS.
    """

    title: str
    size: tuple[int, int]
    stream: str | None = None
    fully_connected: bool = False
    paper: tuple[str, str] = ("", "")


LINES = (
    Line("C3D through fc7", (112, 112), "c3d", fully_connected=True, paper=("313.9", "58.9")),
    Line("C3D, convolutions alone", (180, 90), "c3d"),
    Line("PersonVLAD", (180, 90), paper=("1,182.4", "63.4")),
)


def measure(line: Line, clips: int, repeats: int, dtype: str) -> tuple[float, float, float]:
    """Return a clip's GFLOP, the median frames per second, and the largest deviation from it.

    The operations are those of convolutions and matrix products. Frames are uint8, and on the device already.
    """
    fields = from_file("person_vlad:mars").model
    fields.fully_connected = line.fully_connected
    entry = models.entry(fields.name)
    network = Network(models.create(dtype=dtype, **fields), entry.mean, entry.std)
    size = (LENGTH, *line.size, 3)
    variables = network.module.lazy_init(jax.random.key(0), jax.ShapeDtypeStruct((1, *size), jnp.float32))
    frames = jax.device_put(np.random.default_rng(0).integers(0, 256, (clips, *size), dtype=np.uint8))
    embed = jax.jit(lambda variables, frames: network(variables, frames, stream=line.stream)["feature"])
    operations = matrix_operations(embed.trace(variables, frames).jaxpr) / clips
    embed(variables, frames).block_until_ready()
    rates = []
    for _ in range(repeats):
        started = time.perf_counter()
        embed(variables, frames).block_until_ready()
        rates.append(clips * size[0] / (time.perf_counter() - started))
    middle = statistics.median(rates)
    return operations / 1e9, middle, max(abs(value - middle) for value in rates)


def main() -> None:
    """Print the rows as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4, help="in one batch, 16 frames each")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    flags = parser.parse_args()
    if flags.clips < 1 or flags.repeats < 1:
        parser.error(f"--clips is {flags.clips} and --repeats {flags.repeats}; both must be at least 1")
    setup_process(compilation_cache=False)
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {flags.dtype}, {flags.clips} clips a batch\n")
    print("| network | a clip | GFLOP | frames/s | paper, Titan X: frames/s | paper: mAP on MARS |")
    print("|---|---|---|---|---|---|")
    for line in LINES:
        operations, middle, spread = measure(line, flags.clips, flags.repeats, flags.dtype)
        cells = [line.title, f"{LENGTH}x{line.size[0]}x{line.size[1]}", f"{operations:.1f}"]
        print(f"| {' | '.join([*cells, f'{middle:.1f} ± {spread:.1f}', *line.paper])} |", flush=True)


if __name__ == "__main__":
    main()
