"""Time the cases that decide how `ops/conv3d.py` and `ops/pool.py` compute, against XLA's native operations.

    python benchmarks/conv3d.py [--clips=1] [--repeats=5] [--dtype=float32] [--cases=frames,point]

Prints milliseconds of the fastest run; native and ours alternate. Each pass is compiled alone: forward, gradient to the
input, gradient to the kernel. Without oneDNN: XLA_FLAGS=--xla_cpu_experimental_onednn_custom_call=false.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vreid_jax.models.ops.conv3d import clip_padding, conv3d
from vreid_jax.models.ops.conv3d_gradients import native
from vreid_jax.models.ops.onednn import has_onednn
from vreid_jax.models.ops.pool import max_pool, max_pool_blocks
from vreid_jax.runtime import setup_process

ONE = (1, 1, 1)
# name: (T H W C), (kt kh kw), features, strides
CONVOLUTIONS = {
    "stem of frames": ((8, 256, 128, 3), (1, 7, 7), 64, (1, 2, 2)),
    "stem of clips": ((8, 256, 128, 3), (7, 7, 7), 64, (2, 2, 2)),
    "frames": ((8, 64, 32, 64), (1, 3, 3), 64, ONE),
    "frames, strided": ((8, 64, 32, 128), (1, 3, 3), 128, (1, 2, 2)),
    "frames, late": ((8, 8, 4, 512), (1, 3, 3), 512, ONE),
    "frames, tiny": ((128, 4, 2, 128), (1, 3, 3), 128, ONE),
    "time": ((8, 64, 32, 64), (3, 1, 1), 64, ONE),
    "time, strided": ((4, 16, 8, 256), (3, 1, 1), 256, (2, 1, 1)),
    "clips": ((8, 32, 16, 128), (3, 3, 3), 128, ONE),
    "clips, strided": ((8, 64, 32, 128), (3, 3, 3), 128, (2, 2, 2)),
    "clips, late": ((2, 8, 4, 512), (3, 3, 3), 512, ONE),
    "point": ((8, 64, 32, 64), ONE, 256, ONE),
    "point, strided": ((8, 64, 32, 256), ONE, 512, (2, 2, 2)),
}
POOLS = {
    "pool 1x3x3, stride 2": ((8, 128, 64, 64), (1, 3, 3), (1, 2, 2)),
    "pool 3x3x3": ((4, 32, 16, 256), (3, 3, 3), ONE),
    "pool blocks 2x2x2": ((16, 90, 44, 128), (2, 2, 2), (2, 2, 2)),
}


def fastest(programs: dict, repeats: int) -> list[float]:
    """Return the milliseconds of each program's fastest run."""
    times = {name: [] for name in programs}
    for turn in range(repeats + 1):
        for name, program in programs.items():
            if times[name] and times[name][0] > 1:  # native gradients can take seconds
                continue
            started = time.perf_counter()
            jax.block_until_ready(program())
            times[name] += [time.perf_counter() - started] if turn else []
    return [1000 * min(each) for each in times.values()]


def passes(f, x, *kernel):
    """Return forward and the gradient to each argument as functions without arguments."""
    g = jax.jit(f)(x, *kernel)
    found = {"forward": partial(jax.jit(f), x, *kernel)}
    for number, name in enumerate(("to input", "to kernel")[: 1 + len(kernel)]):
        if x.shape[-1] == 3 and name == "to input":  # of pixels nobody asks for it
            continue

        def gradient(g, *values, number=number):
            return jax.vjp(f, *values)[1](g)[number]

        found[name] = partial(jax.jit(gradient), g, x, *kernel)
    return found


def row(name: str, theirs, ours, arguments, repeats: int) -> None:
    """Print native and ours for every pass."""
    cells = dict.fromkeys(("forward", "to input", "to kernel"), "")
    programs = [passes(f, *arguments) for f in (theirs, ours)]
    for key in programs[0]:
        first, second = fastest({side: each[key] for side, each in enumerate(programs)}, repeats)
        cells[key] = f"{first:.1f} → {second:.1f}"
    print(f"| {name} | {' | '.join(cells.values())} |", flush=True)


def main() -> None:
    """Print one row per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--cases", default="", help="parts of names, by commas")
    flags = parser.parse_args()
    setup_process(compilation_cache=False)
    wanted = flags.cases.split(",")
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.standard_normal(shape), flags.dtype)

    device = jax.devices()[0].device_kind
    print(
        f"jax {jax.__version__}, {device}, oneDNN: {has_onednn()}, {flags.dtype}, {flags.clips} clips; ms, native → ours\n"
    )
    print("| case | forward | to input | to kernel |\n|---|---|---|---|", flush=True)
    for name, (size, taps, features, strides) in CONVOLUTIONS.items():
        if not any(part in name for part in wanted):
            continue
        border = tuple((tap // 2, tap // 2) for tap in taps)
        geometry = {"strides": strides, "padding": border, "dilation": ONE}
        arguments = draw(flags.clips, *size), draw(*taps, size[-1], features)
        row(name, partial(native, **geometry), partial(conv3d, **geometry), arguments, flags.repeats)
    for name, (size, window, strides) in POOLS.items():
        if not any(part in name for part in wanted):
            continue
        if window == strides:
            border, ours = ((0, 0),) * 3, partial(max_pool_blocks, block=window)
        else:
            border = clip_padding(window[0], window[1])
            ours = partial(max_pool, window=window, strides=strides, padding=border)
        whole = ((0, 0), *border, (0, 0))
        theirs = partial(
            lax.reduce_window,
            init_value=-jnp.inf,
            computation=lax.max,
            window_dimensions=(1, *window, 1),
            window_strides=(1, *strides, 1),
            padding=whole,
        )
        row(name, theirs, ours, (draw(flags.clips, *size),), flags.repeats)


if __name__ == "__main__":
    main()
