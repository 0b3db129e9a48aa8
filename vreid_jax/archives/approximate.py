"""Approximate search in a database: an index finds candidates, exact distances rank them, and its recall is measured."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vreid_jax import retrieval
from vreid_jax.archives.database import COLUMNS, FILE_ROWS, Database, reason
from vreid_jax.archives.question import Filters, Queries
from vreid_jax.archives.streaming import NOT_TOLD, Hit, hidden, matches, nearest
from vreid_jax.errors import InputError
from vreid_jax.search.gallery_format import vectors_of
from vreid_jax.search.ranked import Match

SMALL = 20_000  # up to so many tracklets every distance is computed
INDEX = "nearest"
PROBES = 64  # cells of the index that a search looks into at least
SHARE = 8  # one in so many cells, if these are more
FILTERED_SHARE = 2  # likewise where filters leave few rows in every cell
FEW = 100_000  # rows that filters leave: up to so many every distance is computed
CANDIDATES = 20  # times `k`, and at least 200 in all: the vectors that are ranked exactly
GROWN = 4  # times: a database that has grown so much since its cells were learned learns them again
NEW = 10  # one row in so many is new or gone: then recall is measured again
SAMPLE = 50  # tracklets that recall is measured on
_RECALL = "vreid_jax.recall"
_DEPTH = 10

log = logging.getLogger(__name__)


class _Index(NamedTuple):
    cells: int
    waiting: int
    """Rows that are not in it yet: a search compares each of them."""


@dataclasses.dataclass(frozen=True)
class Recall:
    """How many of the truly nearest an index finds.

    Attributes:
      share: of the ten nearest of a tracklet, itself left out; the mean over `queries`.
      queries: tracklets of the database that were looked for.
      rows: that the database had then.
    """

    share: float
    queries: int
    rows: int


def find(
    database: Database,
    queries: Queries,
    k: int = 10,
    *,
    filters: Filters | None = None,
    false_accept_rate: float | int = 0.01,
    exact: bool = False,
    about: Mapping[str, Any] | None = None,
    in_folder: bool = True,
) -> list[list[Match]]:
    """Find the `k` nearest tracklets of each query in a database.

    Where there is no index yet, or filters leave at most `FEW` tracklets, every distance is computed.

    Args:
      database: to search in.
      queries: what to search for.
      k: how many to find.
      filters: which tracklets may be found.
      false_accept_rate: rate of the threshold that decides, in (0, 1].
      exact: whether to compute every distance anyway.
      about: metadata whose thresholds decide; default: those of the database, which have none.
      in_folder: whether tracklets are named with their video.

    Raises:
      InputError: when the queries are of another dimension, and as `decision` does.
    """
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1")
    if queries.vectors.shape[1] != database.dimensions:
        raise InputError(
            f"the query has {queries.vectors.shape[1]} dimensions and {database.address} has {database.dimensions}"
        )
    chosen = Filters() if filters is None else filters
    condition = chosen.sql()
    few = condition is not None and database.count(condition) <= FEW
    if exact or few or _index(database) is None:
        hits = nearest(lambda: database.batches(chosen), queries, k, database.about["metric"])
    else:
        hits = [_candidates(database, queries.part(slice(one, one + 1)), k, chosen) for one in range(len(queries))]
    return matches(hits, queries, about or database.about, false_accept_rate, in_folder=in_folder)


def _candidates(database: Database, query: Queries, k: int, filters: Filters) -> list[Hit]:
    """Return the nearest of what the index finds for one query."""
    conditions = [each for each in (filters.sql(),) if each]
    if query.cameras is not None and query.cameras[0] > 0:
        conditions.append(f"camid != {int(query.cameras[0])}")
    metric = database.about["metric"]
    wanted = {
        "column": "vector",
        "q": query.vectors[0],
        "k": max(CANDIDATES * k, 200),
        "nprobes": _probes(database, bool(filters.sql())),
        "metric": "cosine" if metric == "cosine" else "l2",
    }
    names = [name for name in database.dataset.schema.names if name not in NOT_TOLD]
    table = database.table(
        columns=[*names, "vector", "_distance"], nearest=wanted, filter=" AND ".join(conditions) or None, prefilter=True
    )
    table = table.filter(~hidden(query, table)[0])  # itself
    if not len(table):
        return []
    vectors = vectors_of(table.column("vector").combine_chunks())
    distances, rows = retrieval.top_k(query.vectors, vectors, min(k, len(table)), metric)
    told = table.drop_columns(["vector", "_distance"]).take(rows[0]).to_pylist()
    return list(zip(distances[0].tolist(), told, strict=True))


def _probes(database: Database, filtered: bool) -> int:
    """Return how many cells a search looks into: there are √N of them when they are learned."""
    return max(PROBES, math.isqrt(len(database)) // (FILTERED_SHARE if filtered else SHARE))


def _index(database: Database) -> _Index | None:
    """Return the index of the vectors, or None where there is none."""
    if INDEX not in [each.name for each in database.dataset.describe_indices()]:
        return None
    known = database.dataset.stats.index_stats(INDEX)
    return _Index(known["segments"][0]["num_partitions"], known["num_unindexed_rows"])


def maintain(database: Database) -> Recall | None:
    """Bring the indexes of a database up to its rows: learn cells, or sort what is new into them; join small files.

    Up to `SMALL` new rows wait: a search compares each of them.

    Other processes may write meanwhile: what they were faster with is left for the next call.

    Returns:
      The recall of the index, None where there is none yet.
    """
    dataset = database.latest().dataset
    try:
        dataset.optimize.compact_files(target_rows_per_fragment=FILE_ROWS, materialize_deletions_threshold=0.1)
        known = {field for each in dataset.describe_indices() for field in each.field_names}
        for name in COLUMNS:
            if name not in known and len(database):
                dataset.create_scalar_index(name, "BTREE")
        index = _index(database)
        if _is_outgrown(database, index):
            _learn(database)
        elif index is None or index.waiting > SMALL:  # it writes the index anew
            dataset.optimize.optimize_indices()
        dataset.cleanup_old_versions(older_than=datetime.timedelta(hours=1))
    except (OSError, RuntimeError, ValueError) as error:  # another writer was faster
        log.warning("the index of %s is not up to date: %s", database.address, reason(error))
    return measure(database.latest()) if _index(database) is not None else None


def _is_outgrown(database: Database, index: _Index | None) -> bool:
    rows = len(database)
    if index is None:
        return rows > SMALL
    return math.sqrt(rows) > math.sqrt(GROWN) * index.cells


def _learn(database: Database) -> None:
    """Learn the index anew: √N cells, and one bit for each number of a vector (RaBitQ)."""
    metric = "cosine" if database.about["metric"] == "cosine" else "L2"
    database.dataset.create_index(
        "vector",
        "IVF_RQ",
        name=INDEX,
        metric=metric,
        num_partitions=max(1, round(math.sqrt(len(database)))),
        replace=True,
    )


def stated(database: Database) -> Recall | None:
    """Return the recall that was measured last; None where every distance is computed."""
    found = database.dataset.config().get(_RECALL)
    return None if found is None else Recall(**json.loads(found))


def measure(database: Database) -> Recall:
    """Return the recall of the index; it is measured, in one pass over the vectors, when a tenth of the rows is new."""
    rows, known = len(database), stated(database)
    if known is not None and abs(rows - known.rows) <= rows // NEW:
        return known
    places = np.sort(np.random.default_rng(rows).choice(rows, min(SAMPLE, rows), replace=False))
    queries = dataclasses.replace(queries_of(database.dataset.take(places.tolist()).to_pylist()), cameras=None)
    true = nearest(lambda: database.batches(Filters()), queries, _DEPTH, database.about["metric"])
    found = [_candidates(database, queries.part(slice(one, one + 1)), _DEPTH, Filters()) for one in range(len(queries))]
    shares = [len(_names(some) & _names(best)) / len(best) for some, best in zip(found, true, strict=True) if best]
    recall = Recall(float(np.mean(shares)), len(shares), rows)
    database.dataset.update_config({_RECALL: json.dumps(dataclasses.asdict(recall))})
    return recall


def _names(hits: Sequence[Hit]) -> set[tuple]:
    return {(row["input"], row["recorded_at"], row["tracklet_id"]) for _, row in hits}


def queries_of(rows: Sequence[dict[str, Any]]) -> Queries:
    """Return rows of a database as queries, each for what other cameras saw."""
    times = [[row["start_seconds"], row["end_seconds"]] for row in rows]
    return Queries(
        np.array([row["vector"] for row in rows], np.float32),
        [row["tracklet_id"] for row in rows],
        [row["input"] for row in rows],
        [row["recorded_at"] for row in rows],
        np.array(times, float).reshape(-1, 2),
        np.array([row["camid"] for row in rows], int),
        tracks=[row.get("tracks") for row in rows],
    )
