"""Exact search in a stream of rows: memory does not grow with the archive, and processes share its files."""

from __future__ import annotations

import collections
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from vreid_jax.archives.batches import batches_of
from vreid_jax.archives.question import Filters, Queries
from vreid_jax.errors import InputError
from vreid_jax.retrieval.streamed import StreamedNearest
from vreid_jax.search.gallery_files import GalleryFiles, source_of
from vreid_jax.search.gallery_format import vectors_of
from vreid_jax.search.ranked import Match, decision

QUERIES = 256  # of one pass over the rows
NOT_TOLD = ("vector", "key", "digest", "begins", "ends", "retention_days")  # columns of a database alone

Hit = tuple[float, dict[str, Any]]
"""A distance and a row."""


def find(
    files: GalleryFiles,
    queries: Queries,
    k: int = 10,
    *,
    filters: Filters | None = None,
    false_accept_rate: float | int = 0.01,
    mesh: Mesh | None = None,
) -> list[list[Match]]:
    """Find the `k` nearest tracklets of each query exactly, as `search.find` does, without holding the gallery.

    A pass over the files serves `QUERIES` queries. The host holds a few batches that are read ahead, one block and the rows
    found so far; the device holds one block and its distances. Several processes share the files of a pass, and all of
    them return all that was found.

    Args:
      files: the gallery.
      queries: what to search for.
      k: how many to find.
      filters: which tracklets may be found.
      false_accept_rate: rate of the threshold that decides, in (0, 1].
      mesh: devices of this process that share every block.

    Returns:
      The matches of each query, nearest first. In a folder their `tracklet_id` is the name that `GalleryFiles.read` gives.

    Raises:
      InputError: when a file is damaged, two files hold a tracklet that was found, the queries are of another dimension, or as `decision` does.
    """
    chosen = Filters() if filters is None else filters
    processes, own = jax.process_count(), jax.process_index()
    parts = files.parts[own::processes]
    found = nearest(lambda: batches_of(files, chosen, parts), queries, k, files.about["metric"], mesh)
    if processes > 1:
        found = _of_all_processes(found, k)
    files.refuse_doubled({source for hits in found for source in _doubled(hits)})
    return matches(found, queries, files.about, false_accept_rate, in_folder=files.is_folder)


def _doubled(hits: list[Hit]) -> set[str]:
    """Return the sources of tracklets that were found twice for one query."""
    counts = collections.Counter((source_of(row["input"], row["recorded_at"]), row["tracklet_id"]) for _, row in hits)
    return {source for (source, _), count in counts.items() if count > 1}


def nearest(
    batches: Callable[[], Iterable[Any]], queries: Queries, k: int, metric: str, mesh: Mesh | None = None
) -> list[list[Hit]]:
    """Return the `k` nearest rows of each query, ties in the order of the stream.

    Args:
      batches: begins a stream of Arrow batches with the columns of a gallery, `input`, `recorded_at` and `tracks`.
      queries: what to search for.
      k: how many, at least 1.
      metric: of the distances.
      mesh: devices of this process that share every block.
    """
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1")
    found: list[list[Hit]] = []
    for start in range(0, len(queries), QUERIES):
        found += _one_pass(batches(), queries.part(slice(start, start + QUERIES)), k, metric, mesh)
    return found


def _one_pass(batches: Iterable[Any], queries: Queries, k: int, metric: str, mesh: Mesh | None) -> list[list[Hit]]:
    search = StreamedNearest(queries.vectors, k, metric, mesh=mesh)
    kept: dict[int, dict[str, Any]] = {}
    left = 0
    for table in _blocks(batches, search.block_rows):
        vectors = vectors_of(table.column("vector").combine_chunks())
        search.add(vectors, hidden(queries, table))
        distances, places = search.found()
        wanted = np.unique(places[np.isfinite(distances)])
        new = wanted[wanted >= left]
        told = table.select([name for name in table.column_names if name not in NOT_TOLD])
        rows = told.take(new - left).to_pylist() if len(new) else []
        kept = {place: kept[place] for place in wanted[wanted < left].tolist()} | dict(
            zip(new.tolist(), rows, strict=True)
        )
        left += len(vectors)
    distances, places = search.found()
    return [
        [(distance, kept[place]) for distance, place in zip(some, where, strict=True) if np.isfinite(distance)]
        for some, where in zip(distances.tolist(), places.tolist(), strict=True)
    ]


def _blocks(batches: Iterable[Any], rows: int) -> Iterator[Any]:
    """Yield tables of exactly `rows` rows, the last one shorter, from batches of any length."""
    import pyarrow as pa

    waiting, count = [], 0
    for batch in batches:
        while len(batch):
            some = batch.slice(0, rows - count)
            batch = batch.slice(len(some))
            waiting.append(some)
            count += len(some)
            if count == rows:
                yield pa.Table.from_batches(waiting)
                waiting, count = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def hidden(queries: Queries, table) -> np.ndarray:
    """Return `[Q, n]` booleans: the rows of an Arrow table that each query must not find."""
    found = np.zeros((len(queries), len(table)), bool)
    if queries.cameras is not None:
        camids = table.column("camid").to_numpy()
        found |= (queries.cameras[:, None] == camids[None]) & (camids[None] > 0)
    told = table.select([name for name in ("input", "recorded_at", "tracks", "folder") if name in table.column_names])
    videos: dict[tuple[str, str | None], list[int]] = {}
    for query, video in enumerate(zip(queries.inputs, queries.recorded_at, strict=True)):
        videos.setdefault(video, []).append(query)
    for (made, moment), numbers in videos.items():
        same = _equal(table.column("input"), made)
        if moment is not None:
            same &= _equal(table.column("recorded_at"), moment)
        rows = np.flatnonzero(same)
        if len(rows):
            names = np.array(table.column("tracklet_id").take(rows).to_pylist(), str)
            for number in numbers:
                for row in rows[names == queries.names[number]].tolist():
                    found[number, row] = queries.is_of_video(number, told.slice(row, 1).to_pylist()[0])
    return found


def _equal(column, text: str) -> np.ndarray:
    """Return `[n]` booleans: which texts of a column are this one; null is none."""
    import pyarrow as pa
    from pyarrow import compute

    found = compute.is_in(column, value_set=pa.array([text]))  # pyright: ignore[reportAttributeAccessIssue]
    return found.to_numpy()


def matches(
    found: list[list[Hit]], queries: Queries, about, false_accept_rate: float | int, *, in_folder: bool
) -> list[list[Match]]:
    """Return what was found with its ranks and decisions."""
    rule = decision(about, false_accept_rate)
    outcome = []
    for query, hits in enumerate(found):
        ranked = []
        for rank, (distance, row) in enumerate(hits, 1):
            apart = queries.seen_at_once(query, row)
            same = False if apart else None if rule is None else rule.verdict(distance)
            ranked.append(Match(rank, distance, same, _told(row, in_folder)))
        outcome.append(ranked)
    return outcome


def _told(row: dict[str, Any], in_folder: bool) -> dict[str, Any]:
    told = {name: value for name, value in row.items() if name not in ("input", "recorded_at", "tracks")}
    told |= {name: float("nan") if told[name] is None else told[name] for name in ("start_seconds", "end_seconds")}
    if in_folder:
        told["tracklet_id"] = f"{source_of(row['input'], row['recorded_at'])}/{row['tracklet_id']}"
        told |= {"input": row["input"], "recorded_at": row["recorded_at"]}
    return told


def _of_all_processes(found: list[list[Hit]], k: int) -> list[list[Hit]]:
    """Return the nearest of what every process has found, to all of them."""
    own = np.frombuffer(json.dumps(found).encode(), np.uint8)
    lengths = np.asarray(multihost_utils.process_allgather(np.array([len(own)]))).reshape(-1)
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: len(own)] = own
    everything = np.asarray(multihost_utils.process_allgather(padded))
    parts = [json.loads(row[:length].tobytes()) for row, length in zip(everything, lengths.tolist(), strict=True)]
    return [
        sorted(((distance, row) for part in parts for distance, row in part[query]), key=lambda hit: hit[0])[:k]
        for query in range(len(found))
    ]
