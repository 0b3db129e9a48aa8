"""Measure memory and time of the non-local block's attention against the usual einsum.

    python benchmarks/non_local.py [--batch=8] [--positions=4096] [--channels=256] [--repeats=5] [--dtype=float32]

4,096 positions are 8 frames of 32x16: res3 of a 256x128 clip without temporal stride. Memory is what XLA's compiled
program holds in addition to arguments and results; CPU seconds are those of all cores, which other work on the machine
changes little. `--repeats=0` compiles only.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from vreid_jax.models.layers.non_local import attend
from vreid_jax.runtime import setup_process


def naive(theta, phi, g):
    """Attend with the whole [B, N, N] at once, logits and softmax in float32."""
    logits = jnp.einsum("bnc,bmc->bnm", theta, phi, preferred_element_type=jnp.float32)
    return jnp.einsum("bnm,bmc->bnc", jax.nn.softmax(logits, -1).astype(g.dtype), g)


def gradient(f):
    """Return the forward and the backward pass."""
    return jax.grad(lambda *args: f(*args).astype(jnp.float32).sum(), argnums=(0, 1, 2))


def main() -> None:
    """Print one row for each function and pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--positions", type=int, default=4096)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    flags = parser.parse_args()
    setup_process(compilation_cache=False)
    shape = (flags.batch, flags.positions, flags.channels)
    whole = flags.batch * flags.positions**2 * 4
    print(
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {shape} {flags.dtype}, [B, N, N] {whole / 1e6:.0f} MB"
    )
    print(
        "| pass | attention | temporaries MB | of [B, N, N] | median s | spread s | median CPU s |\n" + "|---" * 7 + "|"
    )
    rng = np.random.default_rng(0)
    inputs = [jnp.asarray(rng.standard_normal(shape) / 8, flags.dtype) for _ in range(3)]
    for title, way in (("forward", lambda f: f), ("forward and backward", gradient)):
        programs = {name: jax.jit(way(f)).lower(*inputs).compile() for name, f in (("ours", attend), ("einsum", naive))}
        seconds = {name: [] for name in programs}
        for turn in range(flags.repeats + 1 if flags.repeats else 0):  # interleaved; the first one warms up
            for name, program in programs.items():
                started = np.array((time.perf_counter(), time.process_time()))
                jax.block_until_ready(program(*inputs))
                took = np.array((time.perf_counter(), time.process_time())) - started
                seconds[name] += [took] if turn else []
        for name, program in programs.items():
            held = program.memory_analysis().temp_size_in_bytes
            wall, cpu = np.transpose(seconds[name]) if flags.repeats else ([], [])
            cells = f"{np.median(wall):.2f} | {np.ptp(wall):.2f} | {np.median(cpu):.2f}" if flags.repeats else "| | "
            print(f"| {title} | {name} | {held / 1e6:.0f} | {held / whole:.2f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
