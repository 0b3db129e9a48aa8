"""Frames per second of OSNet here, and what a card's arithmetic and memory allow.

    python benchmarks/osnet.py [--models=osnet_x1_0,osnet_x0_25] [--batch=32] [--repeats=7]

Inference on frames of 256x128, float32, jitted; the median and, in brackets, the slowest and the fastest run. Beside it
the operations and bytes that XLA counts for a frame of the program for this device, and the load of the machine. For a
card, the roofline is the smaller of peak operations / operations and bandwidth / bytes; both counts are of the program
for a CPU, whose fusions differ from a card's, so the figure is an order of magnitude and neither bound nor measurement.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

# Peak bfloat16 operations and bytes a second, from the makers' data sheets (dense, SXM where there are several).
CARDS = {"H100": (989e12, 3.35e12), "A100": (312e12, 2.04e12), "L4": (121e12, 0.3e12), "T4 (float16)": (65e12, 0.32e12)}


def measure(name: str, batch: int, repeats: int) -> None:
    """Print one row for a model and one for each card."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from vreid_jax import models

    module = models.create(name)
    clips = jnp.asarray(np.random.default_rng(0).standard_normal((batch, 1, 256, 128, 3)), jnp.float32)
    variables = jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, 0.01, leaf.dtype), jax.eval_shape(module.init, jax.random.key(0), clips)
    )

    def feature(variables, clips):
        outputs: Any = module.apply(variables, clips)
        return outputs["feature"]

    compiled = jax.jit(feature).lower(variables, clips).compile()
    cost: Any = compiled.cost_analysis()
    operations, moved = cost["flops"] / batch, cost["bytes accessed"] / batch
    jax.block_until_ready(compiled(variables, clips))
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(variables, clips))
        rates.append(batch / (time.perf_counter() - start))
    print(
        f"{name}: {statistics.median(rates):.1f} frames/s ({min(rates):.1f}, {max(rates):.1f}), batch {batch}, load "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {operations / 1e9:.2f} GFLOP and {moved / 1e6:.0f} MB a frame"
    )
    for card, (peak, bandwidth) in CARDS.items():
        # Activations in two bytes instead of four.
        limits = peak / operations, bandwidth / (moved / 2)
        bound = "arithmetic" if limits[0] < limits[1] else "memory"
        print(f"  {card}: about {min(limits):,.0f} frames/s, limited by {bound} (the other: {max(limits):,.0f})")


def main() -> None:
    """Measure every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="osnet_x1_0,osnet_x0_25")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    flags = parser.parse_args()
    from vreid_jax.runtime import setup_process

    setup_process(compilation_cache=False)
    for name in flags.models.split(","):
        measure(name, flags.batch, flags.repeats)


if __name__ == "__main__":
    main()
