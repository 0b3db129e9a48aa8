"""Time ranking, re-ranking and nearest-neighbour search at the size of MARS against plain NumPy in the same run.

    python benchmarks/retrieval.py rank               # 1,980 x 11,310, against a row-wise argsort loop
    python benchmarks/retrieval.py evaluate           # from features to scores, against distances and rank
    python benchmarks/retrieval.py evaluate --gallery=1000000 --queries=2000 --dimensions=128
    python benchmarks/retrieval.py rerank [--dense]   # N = 13,290, D = 2,048; --dense: the published N x N algorithm too
    python benchmarks/retrieval.py scaling [--sizes=2000,5000,10000,20000,50000]
    python benchmarks/retrieval.py top_k [--gallery=1000000] [--queries=256]

Identities and cameras are synthetic with the counts of MARS; `VREID_MARS_INFO=DIR` reads the real ones from DIR's
`tracks_test_info.mat` and `query_IDX.mat`. Features are those of random persons. Every measurement runs in its own
process; memory is its peak above what it held once the features were made (interpreter and JAX included in the latter).
Seconds depend on the load of the machine: compare within a run, and by CPU seconds (of all threads).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

DIMENSIONS = 2048
JUNK, DISTRACTORS, TEST, QUERIES, PERSONS, CAMERAS = 870, 3248, 12180, 1980, 626, 6


def mars_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return identities and cameras of the 11,310 test tracklets that are not junk, and the rows of the 1,980 queries."""
    folder = os.environ.get("VREID_MARS_INFO")
    if folder:
        from scipy.io import loadmat

        info, query = (
            next(value for key, value in loadmat(Path(folder) / name).items() if not key.startswith("__"))
            for name in ("tracks_test_info.mat", "query_IDX.mat")
        )
        pids, camids, rows = info[:, 2].astype(int), info[:, 3].astype(int), query.ravel().astype(int) - 1
        kept = np.flatnonzero(pids != -1)
        return pids[kept], camids[kept], np.searchsorted(kept, rows)
    generator = np.random.default_rng(0)
    pairs = generator.permutation([(pid, camera) for pid in range(1, PERSONS + 1) for camera in range(1, CAMERAS + 1)])
    pairs = pairs[:QUERIES]
    more = pairs[generator.integers(0, QUERIES, TEST - JUNK - DISTRACTORS - QUERIES)]
    distractors = np.stack([np.zeros(DISTRACTORS, int), generator.integers(1, CAMERAS + 1, DISTRACTORS)], axis=1)
    table = np.concatenate([pairs, more, distractors])
    order = generator.permutation(len(table))
    return table[order, 0], table[order, 1], np.argsort(order)[:QUERIES]


def person_features(pids: np.ndarray, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Return features [N, D] float32: a centre per person (each distractor is one) plus noise."""
    generator = np.random.default_rng(1)
    pids = np.where(pids > 0, pids, pids.max() + 1 + np.arange(len(pids)))
    features = generator.standard_normal((len(pids), dimensions), np.float32)
    # Confusable persons: centres in few directions, so that neighbourhoods of different persons touch.
    centres = generator.standard_normal((pids.max() + 1, 16), np.float32)
    directions = generator.standard_normal((16, dimensions), np.float32) / 4
    for top in range(0, len(pids), 1024):
        rows = slice(top, top + 1024)
        features[rows] = 0.35 * features[rows] + centres[pids[rows]] @ directions
    return features


def peak() -> float:
    """Return the peak resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def resident() -> float:
    """Return the resident memory now, in GB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9


def timed(function, repeats: int = 1) -> tuple[float, object]:
    """Return the shortest time of `repeats` calls, in seconds, and the last result."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def processor_seconds() -> float:
    """Return the CPU seconds of all threads, which depend less on the load of the machine."""
    return time.process_time()


def numpy_loop(distances, query_pids, gallery_pids, query_camids, gallery_camids, max_rank=50):
    """Evaluate in the usual way: an argsort of each row, then a mask."""
    cmc, precisions = np.zeros(max_rank), []
    for q in range(len(distances)):
        order = np.argsort(distances[q], kind="stable")
        pids, camids = gallery_pids[order], gallery_camids[order]
        hits = (pids == query_pids[q])[~((pids == query_pids[q]) & (camids == query_camids[q]))]
        if not hits.any():
            continue
        places = np.flatnonzero(hits)
        cmc += places[0] <= np.arange(max_rank)
        precisions.append(np.mean(np.arange(1, len(places) + 1) / (places + 1)))
    return cmc / len(precisions), np.mean(precisions)


def dense_rerank(query, gallery, k1=20, k2=6, lambda_value=0.3):
    """Run the published algorithm on N x N matrices of NumPy, given the features."""
    everything = np.concatenate([query, gallery])
    norms = np.square(everything).sum(axis=1)
    start = time.perf_counter()
    full = everything @ everything.T
    product = time.perf_counter() - start
    full = np.maximum(norms[:, None] + norms[None] - 2 * full, 0)
    np.fill_diagonal(full, 0)
    full /= full.max(axis=1, keepdims=True)
    order = np.argsort(full, axis=1)
    half = int(np.around(k1 / 2))
    weights = np.zeros_like(full)
    for i in range(len(full)):
        forward = order[i, : k1 + 1]
        members = forward[(order[forward, : k1 + 1] == i).any(axis=1)]
        expanded = members
        for c in members:
            forward = order[c, : half + 1]
            near = forward[(order[forward, : half + 1] == c).any(axis=1)]
            if len(np.intersect1d(near, members)) > 2 / 3 * len(near):
                expanded = np.append(expanded, near)
        expanded = np.unique(expanded)
        weight = np.exp(-full[i, expanded])
        weights[i, expanded] = weight / weight.sum()
    weights = np.stack([weights[order[i, :k2]].mean(axis=0) for i in range(len(full))])
    inverted = [np.flatnonzero(column) for column in weights.T]
    result = lambda_value * full[: len(query), len(query) :]
    for i in range(len(query)):
        shared = np.zeros(len(full), np.float32)
        for j in np.flatnonzero(weights[i]):
            rows = inverted[j]
            shared[rows] += np.minimum(weights[i, j], weights[rows, j])
        result[i] += (1 - lambda_value) * (1 - shared / (2 - shared))[len(query) :]
    return result, product


def distance_product(features: np.ndarray) -> float:
    """Return the seconds of the N x N product alone, on JAX's device, in blocks that are discarded."""
    import jax
    import jax.numpy as jnp

    multiply = jax.jit(lambda a, b: jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST).max())
    on_device = jax.device_put(features)
    block = min(1024, len(features))
    multiply(on_device[:block], on_device).block_until_ready()
    start = time.perf_counter()
    for top in range(0, len(features) - block + 1, block):
        multiply(on_device[top : top + block], on_device).block_until_ready()
    return (time.perf_counter() - start) * len(features) / (len(features) // block * block)


def measure_rank() -> dict:
    """Measure `rank` and the NumPy loop."""
    from vreid_jax import retrieval

    pids, camids, queries = mars_tables()
    generator = np.random.default_rng(2)
    distances = generator.random((len(queries), len(pids)), np.float32)
    distances[pids[queries][:, None] == pids[None]] *= 0.3
    arguments = distances, pids[queries], pids, camids[queries], camids
    first, _ = timed(lambda: retrieval.rank(*arguments))
    ours, ranking = timed(lambda: retrieval.rank(*arguments), 3)
    loop, (cmc, mean) = timed(lambda: numpy_loop(*arguments), 2)
    np.testing.assert_allclose([*ranking.cmc, ranking.mAP], [*cmc, mean], rtol=1e-9)
    return {
        "queries": len(queries),
        "gallery": len(pids),
        "good_pairs": len(ranking.match_rank),
        "seconds": ours,
        "first_call_seconds": first,
        "numpy_loop_seconds": loop,
        "times_faster": loop / ours,
    }


def measure_evaluate(gallery_size: int, queries: int, dimensions: int) -> dict:
    """Measure `evaluate` at the size of MARS against `pairwise_distance` and `rank`, or alone on a larger gallery."""
    from vreid_jax import retrieval

    if gallery_size:
        generator = np.random.default_rng(0)
        pids, camids = generator.integers(1, gallery_size // 10, gallery_size), generator.integers(1, 9, gallery_size)
        features, rows = person_features(pids, dimensions), np.arange(queries)
    else:
        pids, camids, rows = mars_tables()
        features = person_features(pids, dimensions)
    query, labels = features[rows].copy(), (pids[rows], pids, camids[rows], camids)
    retrieval.evaluate(query[:100], features[:400], *(values[: (100, 400)[n % 2]] for n, values in enumerate(labels)))
    before = resident()
    first, found = timed(lambda: retrieval.evaluate(query, features, *labels))
    report = {
        "queries": len(query),
        "gallery": len(features),
        "dimensions": dimensions,
        "good_pairs": len(found.match_rank),
        "mAP": found.mAP,
        "first_call_seconds": first,
        "gb_above_features": peak() - before,
    }
    if not gallery_size:

        def on_the_host():
            return retrieval.rank(retrieval.pairwise_distance(query, features), *labels)

        times = [
            (timed(lambda: retrieval.evaluate(query, features, *labels))[0], timed(on_the_host)[0]) for _ in range(5)
        ]
        report["seconds"], report["distances_and_rank_seconds"] = np.median(times, axis=0).tolist()
        np.testing.assert_array_equal(on_the_host().match_rank, found.match_rank)
    return report


def measure_rerank(size: int, dense: bool) -> dict:
    """Measure `rerank` at `size` tracklets, or at the size of MARS for 0."""
    from vreid_jax import retrieval

    if size:  # for scaling: as many persons as there are in proportion
        pids = np.random.default_rng(0).integers(1, max(2, size // 13), size)
        queries = size * QUERIES // (QUERIES + TEST - JUNK)
    else:
        pids, _, rows = mars_tables()
        pids, queries = np.concatenate([pids[rows], pids]), len(rows)
    features = person_features(pids)
    query, gallery = features[:queries].copy(), features[queries:].copy()
    del features
    retrieval.rerank(query[:100], gallery[:400])  # loads what is loaded once
    before = resident()
    processor = processor_seconds()
    seconds, result = timed(lambda: retrieval.rerank(query, gallery))
    processor = processor_seconds() - processor
    memory = peak() - before
    features = np.concatenate([query, gallery])
    product_processor = processor_seconds()
    product = distance_product(features)
    product_processor = processor_seconds() - product_processor
    report = {
        "n": len(features),
        "queries": queries,
        "seconds": seconds,
        "product_seconds": product,
        "beyond_product_seconds": seconds - product,
        "processor_seconds": processor,
        "product_processor_seconds": product_processor,
        "gb_above_features": memory,
    }
    if dense:
        before = resident()
        dense_seconds, (expected, dense_product) = timed(lambda: dense_rerank(query, gallery))
        ranks = [np.argsort(values, axis=1, kind="stable") for values in (result, expected)]
        report |= {
            "dense_seconds": dense_seconds,
            "dense_beyond_product_seconds": dense_seconds - dense_product,
            "dense_gb_above_features": peak() - before,
            "largest_difference": float(abs(result - expected).max()),
            "same_first_20": float((ranks[0][:, :20] == ranks[1][:, :20]).mean()),
        }
    return report


def measure_top_k(gallery_size: int, queries: int) -> dict:
    """Measure `top_k` on a float16 gallery in a file."""
    from vreid_jax import retrieval

    generator = np.random.default_rng(0)
    query = generator.standard_normal((queries, DIMENSIONS), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gallery.npy"
        gallery = np.lib.format.open_memmap(path, "w+", np.float16, (gallery_size, DIMENSIONS))
        block = generator.standard_normal((8192, DIMENSIONS), np.float32).astype(np.float16)
        for number, top in enumerate(range(0, gallery_size, len(block))):
            rows = min(len(block), gallery_size - top)
            gallery[top : top + rows] = np.roll(block, number + 1, axis=1)[:rows]
        gallery.flush()
        planted = np.linspace(0, gallery_size - 1, queries).astype(int)
        query[:] = gallery[planted].astype(np.float32) + 0.1 * query
        del gallery
        stored = np.load(path, mmap_mode="r")
        retrieval.top_k(query, np.zeros((16, DIMENSIONS), np.float32), 10)
        before, samples, done = memory_without_files(), [0.0], threading.Event()

        def sample():
            while not done.wait(0.02):
                samples.append(memory_without_files())

        sampler = threading.Thread(target=sample)
        sampler.start()
        seconds, (_, indices) = timed(lambda: retrieval.top_k(query, stored, 10))
        done.set()
        sampler.join()
        return {
            "gallery": gallery_size,
            "queries": queries,
            "seconds": seconds,
            "gb_of_own_memory": max(samples) - before,
            "nearest_is_the_planted_one": float((indices[:, 0] == planted).mean()),
        }


def memory_without_files() -> float:
    """Return the resident memory other than pages of mapped files, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024 / 1e9


def in_own_process(*arguments: str) -> dict:
    """Run this file with `arguments` in a fresh process and return its report."""
    output = subprocess.run(
        [sys.executable, __file__, *arguments, "--json"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(output.splitlines()[-1])


def scaling(sizes: list[int]) -> None:
    """Print time and memory of re-ranking at each size, and the exponents between the first and the last."""
    print(f"{'N':>7} {'seconds':>9} {'product':>9} {'processor s':>12} {'of product':>11} {'GB above features':>18}")
    reports = []
    for size in sizes:
        report = in_own_process("rerank", f"--size={size}")
        reports.append(report)
        print(
            f"{report['n']:>7} {report['seconds']:>9.2f} {report['product_seconds']:>9.2f} "
            f"{report['processor_seconds']:>12.2f} {report['product_processor_seconds']:>11.2f} "
            f"{report['gb_above_features']:>18.2f}",
            flush=True,
        )
    if len(reports) > 1:
        span = np.log(reports[-1]["n"] / reports[0]["n"])
        for name in ("processor_seconds", "product_processor_seconds", "gb_above_features"):
            exponent = np.log(max(reports[-1][name], 1e-9) / max(reports[0][name], 1e-9)) / span
            print(f"{name} grows as N^{exponent:.2f}")


def main() -> None:
    """Read the command line and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rank", "evaluate", "rerank", "scaling", "top_k"])
    parser.add_argument("--dense", action="store_true")
    parser.add_argument("--size", type=int, default=0, help="N for rerank; 0: that of MARS")
    parser.add_argument("--sizes", default="2000,5000,10000,20000,50000")
    parser.add_argument("--gallery", type=int, help="tracklets; default: as MARS for evaluate, a million for top_k")
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS, help="of evaluate")
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.what == "scaling":
        scaling([int(size) for size in options.sizes.split(",")])
        return
    if options.what == "rank":
        report = measure_rank()
    elif options.what == "evaluate":
        report = measure_evaluate(options.gallery or 0, options.queries, options.dimensions)
    elif options.what == "rerank":
        report = measure_rerank(options.size, options.dense)
    else:
        report = measure_top_k(options.gallery or 1_000_000, options.queries)
    if options.json:
        print(json.dumps(report))
        return
    for name, value in report.items():
        print(f"{name:>30}  {value:,.3f}" if isinstance(value, float) else f"{name:>30}  {value:,}")


if __name__ == "__main__":
    main()
