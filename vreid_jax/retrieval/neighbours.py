"""Exact nearest neighbours without holding the whole distance matrix."""

# Types that JAX leaves unknown: of `device` in its signatures, and of what a jitted function returns.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays
from vreid_jax.retrieval.arrays import ArrayLike
from vreid_jax.retrieval.block_size import block_bytes
from vreid_jax.retrieval.distances import (
    block_length,
    check_metric,
    distance_block,
    keep_up,
    pad_rows,
    place,
    prepare,
)

Found: TypeAlias = tuple[jax.Array, jax.Array, jax.Array]
"""Distances [Q, k], indices [Q, k] and the largest distance [Q], on the device."""

Mask: TypeAlias = Callable[[slice, Any], np.ndarray]
"""Of a slice of q queries and a slice, or an array, of b gallery rows: booleans [q, b]."""


class Nearest(NamedTuple):
    """Neighbours from near to far, ties by gallery index.

    Attributes:
      distances: [Q, k] float32.
      indices: [Q, k] int64 gallery rows.
      farthest: [Q] float32, the distance of the farthest gallery row.
    """

    distances: np.ndarray
    indices: np.ndarray
    farthest: np.ndarray


def top_k(
    query: ArrayLike,
    gallery: ArrayLike,
    k: int,
    metric: str = "euclidean",
    *,
    mesh: Mesh | None = None,
    max_bytes: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the `k` nearest gallery rows of each query.

    The search is exact: every distance is computed, a block at a time.

    Args:
      query: [Q, D] features.
      gallery: [G, D] features; may be a `numpy.memmap` of any float dtype, which is read once per block of queries.
      k: neighbours of each query, in 1 … G.
      metric: as for `pairwise_distance`.
      mesh: devices of this process; gallery blocks are sharded over the axis `data`.
      max_bytes: memory for blocks, beyond the arguments and the result; `block_bytes` by default.

    Returns:
      Distances [Q, k] float32 and gallery rows [Q, k] int64, from near to far, ties by row.

    Raises:
      InputError: for a `k` outside 1 … G and for what `pairwise_distance` refuses.
    """
    nearest = nearest_rows(query, gallery, k, metric, mesh=mesh, max_bytes=max_bytes)
    return nearest.distances, nearest.indices


def nearest_rows(
    query: ArrayLike,
    gallery: ArrayLike,
    k: int,
    metric: str = "euclidean",
    *,
    mesh: Mesh | None = None,
    max_bytes: int | None = None,
    hidden: Mask | None = None,
) -> Nearest:
    """Find what `top_k` finds, and the largest distance of each query to any gallery row.

    What is `hidden` from a query, which is asked a block at a time, is not found: it is at an infinite distance, as is what
    fills the list where fewer than `k` may be found.
    """
    check_metric(metric)
    squares = metric != "cosine"
    queries = arrays.features("query", query, require_finite_squares=squares)
    gallery_rows = arrays.matrix("gallery", gallery)
    (num_queries, dimensions), num_gallery = queries.shape, len(gallery_rows)
    if gallery_rows.shape[1] != dimensions:
        raise InputError(f"query has {dimensions} dimensions and gallery has {gallery_rows.shape[1]}; they must agree.")
    if not 1 <= k <= num_gallery:
        raise InputError(f"k must be in 1 … {num_gallery}, the size of the gallery, not {k}.")
    devices = 1 if mesh is None else mesh.shape["data"]
    max_bytes = block_bytes(mesh) if max_bytes is None else max_bytes
    # A quarter of the memory for the block of queries and a quarter for the gallery block, on host and device; the rest
    # for the distances, of which there are about three copies: product, distance, and the input of the selection.
    query_length = block_length(num_queries, 4 * dimensions, max_bytes // 4)
    gallery_length = block_length(num_gallery, 8 * dimensions + 12 * query_length, 3 * max_bytes // 4, devices)

    parts: list[list[np.ndarray]] = []
    for top in range(0, num_queries, query_length):
        rows = queries[top : top + query_length]
        on_device = place(pad_rows(prepare(rows, metric), query_length), mesh)
        none = none_found(query_length, k)
        best: Found = (place(none[0], mesh), place(none[1], mesh), place(none[2], mesh))
        for left in range(0, num_gallery, gallery_length):
            block = np.asarray(gallery_rows[left : left + gallery_length]).astype(np.float32, copy=False)
            if not top:
                arrays.check_finite("gallery", block, left, squares)
            on_devices = place(pad_rows(prepare(block, metric), gallery_length), mesh, "data")
            mask = None
            if hidden is not None:
                mask = np.zeros((query_length, gallery_length), np.bool_)
                ends = top + len(rows), left + len(block)
                mask[: len(rows), : len(block)] = hidden(slice(top, ends[0]), slice(left, ends[1]))
                mask = place(mask, mesh, None, "data")
            before, best = best, merge_block(on_device, on_devices, best, left, num_gallery, metric, mesh, mask)
            keep_up(before, mesh)
        parts.append([np.asarray(value)[: len(rows)] for value in best])
    distances, indices, farthest = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Nearest(distances, indices.astype(np.int64), farthest)


def nearest_among(
    features: ArrayLike, k: int, metric: str, *, mesh: Mesh | None = None, max_bytes: int | None = None
) -> Nearest:
    """Return `nearest_rows(features, features, k, metric)` in half the time: each distance serves both of its rows.

    With a `mesh` this is `nearest_rows` itself, which shards the work instead.
    """
    if mesh is not None:
        return nearest_rows(features, features, k, metric, mesh=mesh, max_bytes=max_bytes)
    table = arrays.features("features", features, require_finite_squares=metric != "cosine")
    count, dimensions = table.shape
    max_bytes = block_bytes() if max_bytes is None else max_bytes
    # A block pair costs 16·D·L bytes of features (two blocks, host and device) and about 16·L² of distances.
    longest = int((np.sqrt(dimensions**2 + max_bytes / 4) - dimensions) / 2)
    length = block_length(count, 1, longest)
    starts = range(0, count, length)

    def on_device(start: int) -> jax.Array:
        return jax.device_put(pad_rows(prepare(table[start : start + length], metric), length))

    best: list[Found] = [jax.device_put(none_found(length, k)) for _ in starts]
    # Block j is compared with the blocks before it as their partner, then with itself and those after it: in the order
    # of indices, on which the rule for ties depends.
    for i, top in enumerate(starts):
        block = on_device(top)
        for j, left in enumerate(starts):
            if j == i:
                best[i] = merge_block(block, block, best[i], top, count, metric, None)
            elif j > i:
                best[i], best[j] = _merge_both(block, on_device(left), best[i], best[j], top, left, count, metric)
    distances, indices, farthest = (
        np.concatenate([np.asarray(value) for value in values])[:count] for values in zip(*best, strict=True)
    )
    return Nearest(distances, indices.astype(np.int64), farthest)


def none_found(length: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distances, indices and farthest distances of a search before its first block."""
    return (
        np.full((length, k), np.inf, np.float32),
        np.full((length, k), -1, np.int32),
        np.full(length, -np.inf, np.float32),
    )


@functools.partial(jax.jit, static_argnames=("metric", "mesh"))
def merge_block(
    queries: jax.Array,
    block: jax.Array,
    best: Found,
    left: int | jax.Array,
    count: int | jax.Array,
    metric: str,
    mesh: Mesh | None,
    hidden: jax.Array | None = None,
) -> Found:
    """Return `best` updated with the gallery rows `block`, the first of which is row `left` of `count`.

    `hidden` [Q, B] is True for pairs that may not be found. With a `mesh`, block and `hidden` are sharded over its axis
    `data` by gallery rows.
    """
    k = best[0].shape[1]

    def nearest(
        queries: jax.Array, block: jax.Array, left: int | jax.Array, count: int | jax.Array, hidden: jax.Array | None
    ) -> Found:
        distances = distance_block(queries, block, metric)
        return select_nearest(distances if hidden is None else jnp.where(hidden, jnp.inf, distances), k, left, count)

    if mesh is None:
        return join_found(best, nearest(queries, block, left, count, hidden))
    each = block.shape[0] // mesh.shape["data"]

    def shard(
        queries: jax.Array, block: jax.Array, left: int | jax.Array, count: int | jax.Array, hidden: jax.Array | None
    ) -> Found:
        left = left + jax.lax.axis_index("data") * each
        distances, indices, farthest = nearest(queries, block, left, count, hidden)
        return distances, indices, farthest[:, None]

    replicated, by_column = PartitionSpec(), PartitionSpec(None, "data")
    distances, indices, farthest = jax.shard_map(
        shard,
        mesh=mesh,
        in_specs=(replicated, PartitionSpec("data"), replicated, replicated, by_column),
        out_specs=(by_column,) * 3,
    )(queries, block, left, count, hidden)
    return join_found(best, (distances, indices, farthest.max(axis=1)))


@functools.partial(jax.jit, static_argnames="metric")
def _merge_both(
    a: jax.Array,
    b: jax.Array,
    best_a: Found,
    best_b: Found,
    left_a: int | jax.Array,
    left_b: int | jax.Array,
    count: int | jax.Array,
    metric: str,
) -> tuple[Found, Found]:
    """Return `best_a` updated with the rows `b` and `best_b` updated with the rows `a`, from the same distances."""
    distances = distance_block(a, b, metric)
    k = best_a[0].shape[1]
    return (
        join_found(best_a, select_nearest(distances, k, left_b, count)),
        join_found(best_b, select_nearest(distances.T, k, left_a, count)),
    )


def select_nearest(distances: jax.Array, k: int, left: int | jax.Array, count: int | jax.Array) -> Found:
    """Return the `k` smallest of each row of `distances` [Q, B], and the largest; column 0 is gallery row `left`."""
    index = left + jnp.arange(distances.shape[1], dtype=jnp.int32)
    real = (index < count)[None, :]  # the last block is padded
    negative, position = jax.lax.top_k(jnp.where(real, -distances, -jnp.inf), min(k, distances.shape[1]))
    return -negative, index[position], jnp.where(real, distances, -jnp.inf).max(axis=1)


def join_found(best: Found, found: Found) -> Found:
    """Return the nearest of both, of which `best` holds the smaller indices."""
    # Earlier results have smaller indices and come first, so that `top_k` breaks ties by index.
    distances = jnp.concatenate([best[0], found[0]], axis=1)
    indices = jnp.concatenate([best[1], found[1]], axis=1)
    negative, position = jax.lax.top_k(-distances, best[0].shape[1])
    return -negative, jnp.take_along_axis(indices, position, axis=1), jnp.maximum(best[2], found[2])
