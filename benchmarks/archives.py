"""What searching large galleries costs: exact streams and approximate indexes, on made-up galleries of many files.

    python benchmarks/archives.py FOLDER [--sizes=100000,1000000] [--parts=exact,IVF_RQ,faiss]
    python benchmarks/archives.py FOLDER --table

Needs `pylance`, and for the part `faiss` the package `faiss-cpu`. The gallery of a size is made once in `FOLDER/SIZE`: 100
Parquet files, ten cameras of ten days, 128 numbers a vector; 20 tracklets a person, scattered over the files. 100 queries
are new vectors of 100 of the people. Their true ten nearest, among all and among one camera's last three days (3 % of the
rows), are computed by NumPy.

Every part of every size runs in a process of its own and is kept in `FOLDER/results.jsonl`: what is there is not measured
again, so that an interrupted call goes on. Memory is the peak of the process, file pages that it maps included. Latency is
that of one query at a time, median and slowest of the 100, after three others.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from made_up_gallery import (
    BEGIN,
    CAMERA,
    CAMERAS,
    DAY,
    DAYS,
    DIMENSIONS,
    QUERIES,
    SINCE,
    K,
    Made,
    make,
    read,
    spectrum,
)

PARTS = ("exact", "database", "IVF_RQ", "IVF_PQ", "IVF_SQ", "faiss")
CANDIDATES = 200  # that an index finds and exact distances rank


def _recall(found: list[np.ndarray], true: np.ndarray) -> float:
    return float(
        np.mean([len(set(some.tolist()) & set(row.tolist())) / K for some, row in zip(found, true, strict=True)])
    )


def _timed(search: Callable[[np.ndarray], np.ndarray], made: Made, which: str) -> dict[str, float]:
    """Return recall and the latency of one query at a time."""
    truth = made.truth()
    for query in truth["queries"][:3]:
        search(query)
    found, seconds = [], []
    for query in truth["queries"]:
        before = time.perf_counter()
        found.append(search(query))
        seconds.append(time.perf_counter() - before)
    prefix = "" if which == "all" else "filtered_"
    return {
        f"{prefix}recall": _recall(found, truth[which]),
        f"{prefix}ms": 1000 * float(np.median(seconds)),
        f"{prefix}slowest_ms": 1000 * max(seconds),
    }


def _seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Return elapsed and processor seconds of some work."""
    before, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - before, time.process_time() - cpu


def _bytes(path: Path) -> int:
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


# Lance


def _database(made: Made) -> Path:
    return made.folder / "database.lance"


def database(made: Made) -> dict[str, Any]:
    """Write the rows into a Lance dataset, with the indexes of its columns."""
    import lance
    import pyarrow as pa

    shutil.rmtree(_database(made), ignore_errors=True)
    each = made.size // (CAMERAS * DAYS)

    def batches() -> Iterator[pa.RecordBatch]:
        for number, vectors in enumerate(read(made)):
            rows = np.arange(number * each, (number + 1) * each)
            begins = BEGIN + number // CAMERAS * DAY + np.linspace(0, DAY - 20, each)
            flat = pa.array(vectors.reshape(-1))
            yield pa.record_batch(
                {
                    "key": pa.array([f"day{number // CAMERAS}.mp4-0123456789/track{row}" for row in rows.tolist()]),
                    "row": pa.array(rows),
                    "camid": pa.array(np.full(each, number % CAMERAS + 1)),
                    "begins": pa.array(begins),
                    "ends": pa.array(begins + 10),
                    "vector": pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS),
                }
            )

    schema = next(batches()).schema
    path = str(_database(made))
    write = _seconds(lambda: lance.write_dataset(batches(), path, schema=schema, max_rows_per_file=1 << 20))
    opened = lance.dataset(path)
    columns = _seconds(lambda: [opened.create_scalar_index(name, "BTREE") for name in ("camid", "begins", "ends")])
    return {"write_s": write[0], "write_cpu_s": write[1], "columns_s": columns[0], "bytes": _bytes(_database(made))}


def lance_index(made: Made, kind: str) -> dict[str, Any]:
    """Build an index of the vectors, search with it, add to it and delete from it."""
    import lance
    import pyarrow as pa

    from vreid_jax.archives.database import MERGED_BYTES

    path = _database(made)
    partitions = round(made.size**0.5)
    more = {"num_sub_vectors": 32} if kind == "IVF_PQ" else {}
    build = _seconds(
        lambda: lance.dataset(str(path)).create_index(
            "vector", kind, name="nearest", metric="L2", num_partitions=partitions, replace=True, **more
        )
    )
    opened = lance.dataset(str(path))
    opened.cleanup_old_versions(older_than=_now(), delete_unverified=True)
    outcome: dict[str, Any] = {"build_s": build[0], "build_cpu_s": build[1], "index_bytes": _index_bytes(opened)}

    def search(query: np.ndarray, where: str | None, probes: int) -> np.ndarray:
        nearest = {"column": "vector", "q": query, "k": K, "nprobes": probes, "refine_factor": CANDIDATES // K}
        found = opened.scanner(columns=["row", "_distance"], nearest=nearest, filter=where, prefilter=True).to_table()
        return found.column("row").to_numpy()

    where = f"camid = {CAMERA} AND begins >= {SINCE}"
    # `vreid search` looks into an eighth of the cells, at least 64, and with filters into half of them.
    for name, probes in (("64", 64), ("128", 128), ("eighth", partitions // 8), ("half", partitions // 2)):
        some = _timed(lambda query, probes=probes: search(query, None, probes), made, "all")
        some |= _timed(lambda query, probes=probes: search(query, where, probes), made, "some")
        outcome |= {f"{key}_at_{name}": value for key, value in some.items()}

    rng = np.random.default_rng(4)
    count = made.size // 100
    new = rng.standard_normal((count, DIMENSIONS), np.float32) * spectrum()
    table = pa.table(
        {
            "key": [f"new/track{row}" for row in range(count)],
            "row": made.size + np.arange(count),
            "camid": np.full(count, 99),
            "begins": np.full(count, BEGIN + 90 * DAY),
            "ends": np.full(count, BEGIN + 90 * DAY),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(new.reshape(-1)), DIMENSIONS),
        },
        schema=opened.schema,
    )

    def merge() -> None:
        most = MERGED_BYTES // (4 * DIMENSIONS)
        for start in range(0, count, most):
            piece = table.slice(start, most)
            opened.merge_insert("key").when_matched_update_all().when_not_matched_insert_all().execute(piece)

    outcome["append_1_percent_s"] = _seconds(merge)[0]
    outcome["append_again_s"] = _seconds(merge)[0]
    outcome["rows"] = opened.count_rows()
    outcome["index_new_s"], outcome["index_new_cpu_s"] = _seconds(opened.optimize.optimize_indices)

    def forget() -> None:
        opened.delete("camid = 99")
        opened.delete("key = 'day3.mp4-0123456789/track7'")
        opened.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
        opened.cleanup_old_versions(older_than=_now(), delete_unverified=True)

    outcome["forget_s"] = _seconds(forget)[0]
    outcome["bytes_after"] = _bytes(path)
    return outcome


def _index_bytes(dataset) -> int:
    return next(each.total_size_bytes for each in dataset.describe_indices() if each.name == "nearest")


def _now():
    import datetime

    return datetime.timedelta(0)


# FAISS


def faiss_index(made: Made) -> dict[str, Any]:
    """Build the index of 4·√N cells and 64 one-byte codes, search with it, add to it and delete from it."""
    import faiss  # pyright: ignore[reportMissingImports]

    path = made.folder / "index.faiss"
    index = faiss.index_factory(DIMENSIONS, f"IVF{round(4 * made.size**0.5)},PQ64x8")
    outcome: dict[str, Any] = {}

    def build() -> None:
        sample, count = [], 0
        for vectors in read(made):
            sample.append(vectors[:: max(1, made.size // 200_000)])
            count += len(sample[-1])
        index.train(np.concatenate(sample))
        for vectors in read(made):
            index.add(np.ascontiguousarray(vectors))
        faiss.write_index(index, str(path))

    outcome["build_s"], outcome["build_cpu_s"] = _seconds(build)
    outcome["index_bytes"] = _bytes(path)
    vectors = np.lib.format.open_memmap(
        made.folder / "vectors.npy", "w+", np.float32, (made.size, DIMENSIONS)
    )  # to rank candidates exactly, they have to lie where single rows can be read
    start = 0
    for block in read(made):
        vectors[start : start + len(block)] = block
        start += len(block)
    each = made.size // (CAMERAS * DAYS)
    files = np.arange(made.size) // each
    camid, day = files % CAMERAS + 1, files // CAMERAS

    def search(query: np.ndarray, filtered: bool, probes: int) -> np.ndarray:
        parameters = faiss.SearchParametersIVF(nprobe=probes)
        if filtered:  # over the columns, which are in memory
            passing = np.flatnonzero((camid == CAMERA) & (day >= 7))
            selector = faiss.IDSelectorBatch(passing)
            parameters = faiss.SearchParametersIVF(nprobe=probes, sel=selector)
        rows = index.search(query[None], CANDIDATES, params=parameters)[1][0]
        rows = rows[rows >= 0]
        distances = ((vectors[rows] - query) ** 2).sum(1)
        return rows[np.argsort(distances)[:K]]

    for probes in (32, 64, 128):
        some = _timed(lambda query, probes=probes: search(query, False, probes), made, "all")
        some |= _timed(lambda query, probes=probes: search(query, True, probes), made, "some")
        outcome |= {f"{name}_at_{probes}": value for name, value in some.items()}
    count = made.size // 100
    new = np.random.default_rng(4).standard_normal((count, DIMENSIONS), np.float32) * spectrum()

    def append() -> None:
        index.add(new)
        faiss.write_index(index, str(path))

    def forget() -> None:
        index.remove_ids(np.array([7, *range(made.size, made.size + count)]))
        faiss.write_index(index, str(path))

    outcome["append_1_percent_s"] = _seconds(append)[0]
    outcome["forget_s"] = _seconds(forget)[0]
    (made.folder / "vectors.npy").unlink()
    path.unlink()
    return outcome


def exact(made: Made) -> dict[str, Any]:
    """Stream the files through the device."""
    from vreid_jax.archives.question import Filters, Queries
    from vreid_jax.archives.streaming import find
    from vreid_jax.search.gallery_files import open_files

    truth = made.truth()
    before = time.perf_counter()
    files = open_files(made.folder / "gallery")
    outcome: dict[str, Any] = {"open_s": time.perf_counter() - before}
    for count in (1, QUERIES):
        for which, filters in (("", Filters()), ("filtered_", Filters((CAMERA,), SINCE, None))):
            vectors = truth["queries"][:count]
            nowhere = np.full((count, 2), np.nan)
            queries = Queries(vectors, [""] * count, [""] * count, [None] * count, nowhere)
            found: list[np.ndarray] = []

            def search(queries=queries, filters=filters, found=found) -> None:
                for some in find(files, queries, K, filters=filters):
                    found.append(np.array([_row(made, match.row) for match in some]))

            search()  # compiles
            found.clear()
            elapsed, cpu = _seconds(search)
            true = truth["some" if which else "all"][:count]
            outcome |= {
                f"{which}s_for_{count}": elapsed,
                f"{which}cpu_s_for_{count}": cpu,
                f"{which}recall_for_{count}": _recall(found, true),
            }
    return outcome


def _row(made: Made, row: dict[str, Any]) -> int:
    """Return the number of a tracklet among all."""
    camera, day = map(int, row["input"].removeprefix("/cameras/").removesuffix(".mp4").split("/"))
    number = int(row["tracklet_id"].rpartition("track")[2])
    return (day * CAMERAS + camera - 1) * (made.size // (CAMERAS * DAYS)) + number


def run_part(made: Made, part: str) -> dict[str, Any]:
    """Measure one part in this process."""
    if part.startswith("IVF"):
        outcome = lance_index(made, part)
    else:
        outcome = {"make": make, "exact": exact, "database": database, "faiss": faiss_index}[part](made)
    return {**outcome, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Run the parts that are not there yet, each in a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", default="100000,1000000,10000000")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true", help="print what was measured")
    flags = parser.parse_args()
    results = flags.folder / "results.jsonl"
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    if flags.table:
        for line in known:
            print(
                json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in line.items()})
            )
        return
    if flags.one:
        size, part = flags.one.split(",")
        print(json.dumps(run_part(Made(flags.folder / size, int(size)), part)))
        return
    for size in map(int, flags.sizes.split(",")):
        for part in ("make", *flags.parts.split(",")):
            if any(line["size"] == size and line["part"] == part for line in known):
                continue
            (flags.folder / str(size)).mkdir(parents=True, exist_ok=True)
            command = [sys.executable, __file__, str(flags.folder), f"--one={size},{part}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            line = {"size": size, "part": part, **json.loads(done.stdout.splitlines()[-1])}
            with results.open("a") as opened:
                opened.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
