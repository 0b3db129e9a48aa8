"""Measure the learned similarity in clip pairs per second at the paper's size, and project the time for MARS.

    python benchmarks/clip_pairs.py [--pairs-at-once=8192] [--width=1024] [--dtype=float32] [--memory]

`--memory` also computes two rows against the whole gallery of MARS and prints the peak memory of the process (Linux).
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from backbones import resident

from vreid_jax.evaluation.pair_distances import PairDistances
from vreid_jax.models.layers.clip_similarity import ClipAggregation
from vreid_jax.models.layers.norm import l2_normalize
from vreid_jax.runtime import setup_process
from vreid_jax.runtime.mesh import make_mesh

QUERY, GALLERY, CLIPS = 1_980, 12_180, 8  # tracklets of MARS, queries are part of the gallery; clips per tracklet


def main() -> None:
    """Time compiled blocks of all pairs and project to MARS."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs-at-once", type=int, default=1024, help="pairs of tracklets in a block")
    parser.add_argument("--width", type=int, default=1024, help="of features and hidden layers")
    parser.add_argument("--dtype", default="float32", help="of the importance network: float32 or bfloat16")
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="of the evaluation of a gallery like that of MARS")
    arguments = parser.parse_args()
    setup_process(compilation_cache=False)
    side = int(arguments.pairs_at_once**0.5)
    layer = ClipAggregation((arguments.width, arguments.width), dtype=arguments.dtype)
    clips = np.random.default_rng(0).standard_normal((side * arguments.blocks, CLIPS, arguments.width), np.float32)
    some = jnp.zeros((1, 1, arguments.width))
    variables = jax.jit(layer.init)(jax.random.key(0), some, some)

    def similarity(variables, query, gallery):
        return layer.apply(variables, l2_normalize(query), l2_normalize(gallery))[0]

    mesh = make_mesh()
    distances = PairDistances(similarity, variables, clips, mesh, pairs_at_once=arguments.pairs_at_once // mesh.size)
    rows = np.arange(side)
    distances(rows, rows)  # compiles
    seconds = []
    for block in range(1, arguments.blocks):
        started = time.perf_counter()
        distances(rows + side * block, rows)
        seconds.append(time.perf_counter() - started)
    tracklet_pairs = side * len(clips)
    rate = tracklet_pairs * CLIPS**2 / float(np.median(seconds))
    flop = 2 * (2 * arguments.width**2 + arguments.width)
    print(
        f"{jax.devices()[0].device_kind} x {mesh.size}, JAX {jax.__version__}, {arguments.dtype}, width {arguments.width}"
    )
    print(f"{rate:,.0f} pairs of clips a second, {rate * flop / 1e9:,.0f} GFLOP/s in the importance network")
    for what, pairs in (
        ("MARS, all pairs", QUERY * GALLERY),
        ("MARS, shortlist of 100", QUERY * 100),
        ("MARS, gallery x gallery, for re-ranking", GALLERY * GALLERY),
        ("MARS, re-ranking on shortlists of 100", GALLERY * 100),
    ):
        print(f"{what}: {pairs * CLIPS**2:.2e} pairs of clips, {pairs * CLIPS**2 / rate / 3600:,.2f} h")
    if arguments.memory:
        clips = np.random.default_rng(0).standard_normal((GALLERY, CLIPS, arguments.width), np.float32)
        Path("/proc/self/clear_refs").write_text("5")  # forgets the most it has held
        table = PairDistances(similarity, variables, clips, mesh, pairs_at_once=arguments.pairs_at_once // mesh.size)
        table(np.arange(2), np.arange(GALLERY))
        size = f"{GALLERY:,} x {CLIPS} x {arguments.width:,}"
        print(f"{size} floats ({clips.nbytes / 1e9:.2f} GB), two rows: held {resident()['most'] / 1e3:.2f} GB at most")


if __name__ == "__main__":
    main()
