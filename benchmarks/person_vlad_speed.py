"""Measure the recipe's feature extraction in frames per second, as in Table X (1,182 on a Titan X), and C3D alone.

python benchmarks/person_vlad_speed.py [--clips=4] [--repeats=5] [--dtype=float32]
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from vreid_jax import models
from vreid_jax.config import from_file
from vreid_jax.runtime import setup_process
from vreid_jax.training.network import Network


def rate(stream: str | None, clips: int, repeats: int, dtype: str) -> tuple[float, float]:
    """Return the median frames per second and the largest deviation from it, with uint8 frames already on the device."""
    fields = from_file("person_vlad:mars").model
    entry = models.entry(fields.name)
    network = Network(models.create(dtype=dtype, **fields), entry.mean, entry.std)
    size = (entry.clip_length, *entry.input_size, 3)
    variables = network.module.lazy_init(jax.random.key(0), jax.ShapeDtypeStruct((1, *size), jnp.float32))
    frames = jax.device_put(np.random.default_rng(0).integers(0, 256, (clips, *size), dtype=np.uint8))
    embed = jax.jit(lambda variables, frames: network(variables, frames, stream=stream)["feature"])
    embed(variables, frames).block_until_ready()
    rates = []
    for _ in range(repeats):
        started = time.perf_counter()
        embed(variables, frames).block_until_ready()
        rates.append(clips * size[0] / (time.perf_counter() - started))
    middle = statistics.median(rates)
    return middle, max(abs(value - middle) for value in rates)


def main() -> None:
    """Print the rows as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4, help="in one batch, 16 frames of 180x90 each")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    flags = parser.parse_args()
    setup_process(compilation_cache=False)
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {flags.dtype}, {flags.clips} clips a batch\n")
    print("| network | frames/s |\n|---|---|")
    for title, stream in (("C3D", "c3d"), ("PersonVLAD", None)):
        middle, spread = rate(stream, flags.clips, flags.repeats, flags.dtype)
        print(f"| {title}, 16x180x90 | {middle:.1f} ± {spread:.1f} |")


if __name__ == "__main__":
    main()
