"""From features to CMC and average precision on the devices, without the distance matrix on the host."""

# Types that JAX leaves unknown: of what a jitted function returns.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vreid_jax.retrieval import arrays, matching
from vreid_jax.retrieval.arrays import ArrayLike
from vreid_jax.retrieval.block_size import block_bytes, rows_bytes
from vreid_jax.retrieval.distances import DistanceBlocks, check_metric, keep_up, place
from vreid_jax.retrieval.ranking import Ranking, check_max_rank, ranking

KEPT = 4  # times `max_bytes`: blocks of distances that are kept for counting rather than computed again


class _Pairs(NamedTuple):
    """Pairs of a query and a gallery row, by query.

    Attributes:
      query: [P] int64.
      row: [P] int64.
      good: [P] whether the row is a match, else it is ignored.
    """

    query: np.ndarray
    row: np.ndarray
    good: np.ndarray

    def take(self, chosen: np.ndarray) -> "_Pairs":
        return _Pairs(*(values[chosen] for values in self))


def evaluate(
    query_features: ArrayLike,
    gallery_features: ArrayLike,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
    *,
    metric: str = "euclidean",
    mesh: Mesh | None = None,
    max_rank: int = 50,
    max_bytes: int | None = None,
) -> Ranking:
    """Rank the gallery for each query on the devices; equal to `rank(pairwise_distance(…), …)`, ties included.

    Distances are computed in the blocks of `pairwise_distance` and stay on the device. There the distances of the good
    pairs are taken out of them, and for each the nearer rows are counted: those of a smaller distance, or of the same
    distance and a smaller gallery index. Ignored rows are subtracted afterwards. The work is Q·G·D for the distances and
    G for each good pair.

    Args:
      query_features: [Q, D].
      gallery_features: [G, D].
      query_pids: [Q] identities, integers.
      gallery_pids: [G] likewise.
      query_camids: [Q] cameras, integers.
      gallery_camids: [G] likewise.
      metric: as for `pairwise_distance`.
      mesh: devices, of this process or of several that all call this with the same arguments; gallery blocks are sharded
        over the axis `data`. Shards are products of another shape, so that distances may differ in their last bit.
      max_rank: length of the CMC.
      max_bytes: memory for a block; `block_bytes` by default. Up to four times as much keeps the blocks between the two passes; where all blocks of
        some queries are larger, distances are computed twice. Beyond that, 32 bytes for each good or ignored pair.

    Returns:
      The ranking, as that of `rank` with `cmc="first_match"`.

    Raises:
      InputError: for what `pairwise_distance` and `rank` refuse.
    """
    check_metric(metric)
    check_max_rank(max_rank)
    queries, gallery = arrays.pair_of_features(
        "query_features",
        query_features,
        "gallery_features",
        gallery_features,
        require_finite_squares=metric != "cosine",
    )
    query_ids = arrays.identities("query_pids", query_pids, len(queries))
    query_cameras = arrays.identities("query_camids", query_camids, len(queries))
    gallery_ids = arrays.identities("gallery_pids", gallery_pids, len(gallery))
    gallery_cameras = arrays.identities("gallery_camids", gallery_camids, len(gallery))

    pairs = _pairs(query_ids, gallery_ids, query_cameras, gallery_cameras)
    max_bytes = block_bytes(mesh) if max_bytes is None else max_bytes
    blocks = DistanceBlocks(queries, gallery, metric, mesh, max_bytes)
    counted = gallery_ids != matching.JUNK
    rows, ranks = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for part in blocks.rows:
        inside = np.arange(*np.searchsorted(pairs.query, (part.start, part.stop)))
        row, rank = _good_ranks(blocks, part, pairs.take(inside), counted, mesh, max_bytes)
        rows.append(row)
        ranks.append(rank)
    counts = np.bincount(pairs.query[pairs.good], minlength=len(queries))
    return ranking(counts, np.concatenate(rows), np.concatenate(ranks), gallery_ids, max_rank)


def _pairs(
    query_pids: np.ndarray, gallery_pids: np.ndarray, query_camids: np.ndarray, gallery_camids: np.ndarray
) -> _Pairs:
    """Return the good and the ignored pairs, junk left out."""
    query, row, good = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, bool)]
    for match in matching.matches(query_pids, gallery_pids, query_camids, gallery_camids):
        if not len(match.good):
            continue  # without a good row the query has no ranks
        ignored = match.ignored[gallery_pids[match.ignored] != matching.JUNK]
        row += [match.good, ignored]
        good += [np.ones(len(match.good), bool), np.zeros(len(ignored), bool)]
        query.append(np.full(len(match.good) + len(ignored), match.query))
    return _Pairs(np.concatenate(query), np.concatenate(row), np.concatenate(good))


def _good_ranks(
    blocks: DistanceBlocks, part: slice, pairs: _Pairs, counted: np.ndarray, mesh: Mesh | None, max_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return gallery row and rank of the good pairs of a block of queries, by query and from near to far."""
    if not len(pairs.query):
        return pairs.row, pairs.row
    keep = 4 * blocks.query_length * len(counted) <= KEPT * max_bytes
    kept: list[jax.Array] = []
    distance = np.empty(len(pairs.query), np.float32)
    taken: list[tuple[np.ndarray, jax.Array]] = []
    inside = [np.flatnonzero((pairs.row >= part.start) & (pairs.row < part.stop)) for part in blocks.columns]
    longest = _power_of_two(max(map(len, inside)))
    for columns, chosen, block in zip(blocks.columns, inside, blocks.of_rows(part), strict=True):
        query, row = (
            _padded(values, longest) for values in (pairs.query[chosen] - part.start, pairs.row[chosen] - columns.start)
        )
        taken.append((chosen, _take(block, query, row, mesh=mesh)))
        keep_up(taken[-2:-1], mesh)
        if keep:
            kept.append(block)
    for chosen, values in taken:
        distance[chosen] = np.asarray(values)[: len(chosen)]

    order = np.lexsort((pairs.row, distance, pairs.query))
    pairs, distance = pairs.take(order), distance[order]
    good = np.flatnonzero(pairs.good)
    wanted = [pairs.query[good] - part.start, distance[good], pairs.row[good]]
    most = rows_bytes(mesh, max_bytes) // (4 * blocks.gallery_length)
    at_once = min(_power_of_two(len(good)), max(1, most))
    query, nearest, row = (
        _padded(values, -(-len(good) // at_once) * at_once).reshape(-1, at_once) for values in wanted
    )
    total = np.zeros(query.size, np.int64)
    counts = []
    for columns, block in zip(blocks.columns, kept or blocks.of_rows(part), strict=True):
        valid = _padded(counted[columns], blocks.gallery_length)
        counts.append(_nearer(block, place(valid, mesh, "data"), columns.start, query, nearest, row, mesh=mesh))
        keep_up(counts[-2:-1], mesh)
    for count in counts:
        total += np.asarray(count).reshape(-1)
    ignored = np.cumsum(~pairs.good)  # before each pair, those of earlier queries included
    begins = np.searchsorted(pairs.query, pairs.query[good])
    earlier = np.where(begins > 0, ignored[begins - 1], 0)
    return pairs.row[good], total[: len(good)] - (ignored[good] - earlier)


@functools.partial(jax.jit, static_argnames="mesh")
def _take(block: jax.Array, query: jax.Array, row: jax.Array, *, mesh: Mesh | None) -> jax.Array:
    """Return the distances [P] of some pairs out of a block [Q, B]."""
    return _whole(block[query, row], mesh)


@functools.partial(jax.jit, static_argnames="mesh")
def _nearer(
    block: jax.Array,
    valid: jax.Array,
    start: jax.Array,
    query: jax.Array,
    distance: jax.Array,
    row: jax.Array,
    *,
    mesh: Mesh | None,
) -> jax.Array:
    """Count the rows of a block that come before each pair.

    Args:
      block: [Q, B] distances.
      valid: [B] bool, rows that count.
      start: gallery row of the first column.
      query: [N, L] row of `block` of each pair.
      distance: [N, L] its distance.
      row: [N, L] its gallery row.
      mesh: of the block, if it is sharded.

    Returns:
      [N, L] int32.
    """
    columns = start + jnp.arange(block.shape[1], dtype=jnp.int32)[None]

    def count(pairs: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        rows, nearest, index = block[pairs[0]], pairs[1][:, None], pairs[2][:, None]
        before = (rows < nearest) | ((rows == nearest) & (columns < index))
        return (before & valid[None]).sum(axis=1, dtype=jnp.int32)

    return _whole(jax.lax.map(count, (query, distance, row)), mesh)


def _whole(values: jax.Array, mesh: Mesh | None) -> jax.Array:
    """Have every device hold all of `values`, so that each process can read them."""
    return values if mesh is None else jax.lax.with_sharding_constraint(values, NamedSharding(mesh, PartitionSpec()))


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    """Return `values` [N] with zeros behind them, `length` in all; int64 becomes int32, as on the device."""
    values = values.astype(np.int32) if values.dtype == np.int64 else values
    return np.pad(values, (0, length - len(values)))


def _power_of_two(count: int) -> int:
    """Return the smallest one that is not below `count`, so that one compilation serves many counts."""
    return 1 << max(0, count - 1).bit_length()
