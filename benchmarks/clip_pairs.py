"""Measure the learned similarity in clip pairs per second at the paper's size, and project the time for MARS.

    python benchmarks/clip_pairs.py [--pairs-at-once=1024] [--width=1024] [--dtype=float32] [--memory]
    python benchmarks/clip_pairs.py --exact=WORKDIR|box [--top=1,10,50]

Beside the library's form it times one that shares the products of the first layer: W (r - c) = W r - W c, where W r moves
with r, so that r itself is not needed. Both are run in turn, and their results compared; the medians of `--blocks` are of
the clock and of the processor, which others on the machine disturb less. `--memory` also computes two rows
against the whole gallery of MARS and prints the peak memory of the process (Linux). `--exact` tells how many pairs an exact
shortlist compares for the queries of a dataset: with a trained run of clip_similarity, whose clips it extracts, or with the
model in the box on walkers/small, whose pairs of clips count alike.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from backbones import resident

from vreid_jax import data, datasets, evaluation, inference
from vreid_jax.config.files import read_config
from vreid_jax.errors import InputError
from vreid_jax.evaluation.features import extract_stream
from vreid_jax.evaluation.pair_distances import FAR, PairDistances, pair_distances
from vreid_jax.experiment.scoring import restore_variables
from vreid_jax.experiment.setup import make_setup
from vreid_jax.inference.box import box_file
from vreid_jax.models.layers.clip_similarity import EPSILON, ClipAggregation, clip_cosines
from vreid_jax.models.layers.norm import l2_normalize
from vreid_jax.runtime import setup_process
from vreid_jax.runtime.exit_codes import exit_codes
from vreid_jax.runtime.mesh import make_mesh

QUERY, GALLERY, CLIPS = 1_980, 12_180, 8  # tracklets of MARS, queries are part of the gallery; clips per tracklet
DEVICES = {  # bfloat16 FLOP/s of dense products, bytes/s of memory, as the makers give them
    "TPU v5e": (197e12, 819e9),
    "H100 SXM": (989e12, 3.35e12),
}


def shared_products(variables, query, gallery, dtype: str):
    """Return the similarities of two blocks of normalised clips with W r in place of r as the state of the scan."""
    params, stats = (variables[name]["importance"] for name in ("params", "batch_stats"))
    kernel, bias = (params["dense1"][name].astype(dtype) for name in ("kernel", "bias"))

    def norm(x, name):
        own, seen = params[name], stats[name]
        factor = own["scale"] * jax.lax.rsqrt(seen["var"] + 1e-5)
        return x * factor.reshape(1, 1, -1) + (own["bias"] - seen["mean"] * factor).reshape(1, 1, -1)

    def step(carry, pair):
        moved, total, mean = carry
        current = query[:, pair[0]][:, None] * gallery[:, pair[1]][None]
        product = current.astype(dtype) @ kernel
        x = norm(jax.nn.relu((moved - product).astype(dtype) + bias.reshape(1, 1, -1)), "bn1")
        second = params["dense2"]
        x = x.astype(dtype) @ second["kernel"].astype(dtype) + second["bias"].astype(dtype).reshape(1, 1, -1)
        x = norm(jax.nn.relu(x), "bn2") @ params["score"]["kernel"]
        alpha = jax.nn.softplus(x[..., 0] + params["score"]["bias"].reshape(1, 1))
        total = total + alpha
        share = alpha / (total + EPSILON)
        moved = moved + share[..., None] * (product - moved)
        return (moved, total, mean + share * (current.sum(-1) - mean)), None

    size = query.shape[0], gallery.shape[0]
    start = jnp.zeros((*size, kernel.shape[1])), jnp.zeros(size), jnp.zeros(size)
    pairs = jnp.stack(jnp.divmod(jnp.arange(query.shape[1] * gallery.shape[1]), gallery.shape[1]), 1)
    return jax.lax.scan(step, start, pairs)[0][2]


def compared(source: str, tops: list[int]) -> None:
    """Print how many tracklets an exact shortlist compares with a query: of a trained run, or of the model in the box."""
    test, size, exact = of_the_box() if source == "box" else of_a_run(Path(source))
    rows = np.unique(test.query_rows)
    for top in tops:
        found = (exact(top)(rows, np.arange(size)) < FAR).sum()
        print(
            f"{source}: the {top} most similar of {len(rows)} queries, of {size} tracklets: {found:,} of "
            f"{len(rows) * size:,} pairs of tracklets are compared, {100 * found / (len(rows) * size):.1f} %"
        )


def of_a_run(workdir: Path):
    """Return the test set of a trained run, how many tracklets it has, and distances with an exact shortlist of k."""
    setup = make_setup(read_config(workdir), workdir)
    if setup.system.similarity is None:
        raise InputError(f"--exact={workdir} is a run of {setup.settings.system}; it is one of clip_similarity, or box")
    variables, _ = restore_variables(setup)
    ((name, stream),) = setup.settings.evaluation.streams.items()
    clips = extract_stream(setup.network, variables, setup.test.tracklets, stream, setup.extraction, name=name)
    own = setup.network.module, variables, clips

    def exact(top: int) -> PairDistances:
        settings = dataclasses.replace(setup.settings.evaluation, shortlist=top, shortlist_exact=True)
        return pair_distances(*own, settings, setup.mesh, setup.system.similarity, "pairs", setup.test, setup.protocols)

    return setup.test, len(clips), exact


def of_the_box():
    """Return the same of the model in the box: 8 clips of 4 frames of each tracklet of walkers/small."""
    model = inference.load(box_file())
    builder = datasets.load_builder("walkers/small")
    test = evaluation.make_test_set(*(data.TrackletSource(builder, split) for split in ("query", "gallery")))
    (stream,) = model.streams.values()
    clip = dataclasses.replace(stream.clip, kind="evenly", length=4, stride=1, num_clips=CLIPS)
    stream = dataclasses.replace(stream, clip=clip, average=False)
    clips = extract_stream(model.network, model.variables, test.tracklets, stream, model.extraction())
    own = mean_cosine, {}, clips, make_mesh()
    ranked = evaluation.ranked(test, ("walkers",))
    return test, len(clips), lambda top: PairDistances(*own, shortlist=top, bound=largest_cosine, ranked=ranked)


def mean_cosine(variables, query, gallery):
    """Return the similarity that weighs all pairs of clips alike."""
    return clip_cosines(query, gallery).mean((2, 3))


def largest_cosine(variables, query, gallery):
    """Return its bound."""
    return clip_cosines(query, gallery).max((2, 3))


def roofline(width: int) -> None:
    """Print the pairs of clips a second that an accelerator cannot pass, by its products and by its memory."""
    flop = 2 * (2 * width**2 + width)
    # r read twice and written, in float32; what enters and leaves the two layers, written and read, in bfloat16.
    moved = 3 * 4 * width + 4 * 2 * 2 * width
    for name, (flops, memory) in DEVICES.items():
        rate = min(flops / flop, memory / moved)
        limit = "memory" if memory / moved < flops / flop else "products"
        print(
            f"{name}: at most {flops / flop / 1e6:,.0f} million pairs a second by products, {memory / moved / 1e6:,.0f} by "
            f"memory; MARS in {QUERY * GALLERY * CLIPS**2 / rate:,.0f} s, bound by {limit}"
        )


def main() -> None:
    """Time compiled blocks of all pairs and project to MARS."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs-at-once", type=int, default=1024, help="pairs of tracklets in a block")
    parser.add_argument("--width", type=int, default=1024, help="of features and hidden layers")
    parser.add_argument("--dtype", default="float32", help="of the importance network: float32 or bfloat16")
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="of the evaluation of a gallery like that of MARS")
    parser.add_argument("--exact", help="workdir of a trained run of clip_similarity, or box")
    parser.add_argument("--top", default="1,10,50", help="k of --exact")
    arguments = parser.parse_args()
    setup_process(compilation_cache=False)
    if arguments.exact:
        with exit_codes("clip_pairs"):
            compared(arguments.exact, [int(top) for top in arguments.top.split(",")])
        return
    side = int(arguments.pairs_at_once**0.5)
    layer = ClipAggregation((arguments.width, arguments.width), dtype=arguments.dtype)
    clips = np.random.default_rng(0).standard_normal((side * arguments.blocks, CLIPS, arguments.width), np.float32)
    some = jnp.zeros((1, 1, arguments.width))
    variables = jax.jit(layer.init)(jax.random.key(0), some, some)

    def similarity(variables, query, gallery):
        return layer.apply(variables, l2_normalize(query), l2_normalize(gallery))[0]

    def shared(variables, query, gallery):
        return shared_products(variables, l2_normalize(query), l2_normalize(gallery), arguments.dtype)

    mesh = make_mesh()
    at_once = arguments.pairs_at_once // mesh.size
    forms = {"library": similarity, "shared products": shared}
    tables = {name: PairDistances(form, variables, clips, mesh, pairs_at_once=at_once) for name, form in forms.items()}
    rows = np.arange(side)
    first = [distances(rows, rows) for distances in tables.values()]  # compiles
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    for block in range(1, arguments.blocks):
        for name, distances in tables.items():
            started = time.perf_counter(), time.process_time()
            distances(rows + side * block, rows)
            seconds[name].append((time.perf_counter() - started[0], time.process_time() - started[1]))
    tracklet_pairs = side * len(clips)
    rates = {name: tracklet_pairs * CLIPS**2 / np.median(taken, axis=0) for name, taken in seconds.items()}
    flop = 2 * (2 * arguments.width**2 + arguments.width)
    print(
        f"{jax.devices()[0].device_kind} x {mesh.size}, JAX {jax.__version__}, {arguments.dtype}, width {arguments.width}"
    )
    for name, (rate, of_processor) in rates.items():
        print(
            f"{name}: {rate:,.0f} pairs of clips a second, {rate * flop / 1e9:,.0f} GFLOP/s in the importance network; "
            f"{of_processor:,.0f} a second of processor time"
        )
    print(f"the two differ by {np.abs(first[0] - first[1]).max():.1e} at most")
    rate = float(rates["library"][0])
    for what, pairs in (
        ("MARS, all pairs", QUERY * GALLERY),
        ("MARS, shortlist of 100", QUERY * 100),
        ("MARS, gallery x gallery, for re-ranking", GALLERY * GALLERY),
        ("MARS, re-ranking on shortlists of 100", GALLERY * 100),
    ):
        print(f"{what}: {pairs * CLIPS**2:.2e} pairs of clips, {pairs * CLIPS**2 / rate / 3600:,.2f} h")
    roofline(arguments.width)
    if arguments.memory:
        clips = np.random.default_rng(0).standard_normal((GALLERY, CLIPS, arguments.width), np.float32)
        Path("/proc/self/clear_refs").write_text("5")  # forgets the most it has held
        table = PairDistances(similarity, variables, clips, mesh, pairs_at_once=at_once)
        table(np.arange(2), np.arange(GALLERY))
        size = f"{GALLERY:,} x {CLIPS} x {arguments.width:,}"
        print(f"{size} floats ({clips.nbytes / 1e9:.2f} GB), two rows: held {resident()['most'] / 1e3:.2f} GB at most")


if __name__ == "__main__":
    main()
