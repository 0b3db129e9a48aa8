"""The nearest gallery rows of every query, exact, without ever holding the whole distance matrix."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays
from vreid_jax.retrieval.distances import MAX_BYTES, block_length, check_metric, distance_block, pad_rows, prepare


class Nearest(NamedTuple):
    """Neighbours from near to far, ties by gallery index, and how far the farthest of all gallery rows is."""

    distances: np.ndarray
    """[Q, k] float32."""
    indices: np.ndarray
    """[Q, k] int64."""
    farthest: np.ndarray
    """[Q] float32."""


def top_k(
    query, gallery, k: int, metric: str = "euclidean", *, mesh: Mesh | None = None, max_bytes: int = MAX_BYTES
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest rows of `gallery` [G, D] for each row of `query` [Q, D]: distances [Q, k], indices [Q, k].

    From near to far, ties by index; float32 and int64. Exact: every distance is computed, a block at a time, in about
    `max_bytes` beyond arguments and result. `gallery` may be a `numpy.memmap`, of any float dtype; it is read once per
    block of queries. With a `mesh` of this process's devices the blocks are spread over its `data` axis.
    Raises `InputError` for a `k` outside 1 … G and for what `pairwise_distance` refuses.
    """
    nearest = nearest_rows(query, gallery, k, metric, mesh=mesh, max_bytes=max_bytes)
    return nearest.distances, nearest.indices


def nearest_rows(
    query, gallery, k: int, metric: str = "euclidean", *, mesh: Mesh | None = None, max_bytes: int = MAX_BYTES
) -> Nearest:
    """`top_k` and the largest distance of every query to any gallery row."""
    check_metric(metric)
    squares = metric != "cosine"
    query, gallery = arrays.features("query", query, squares=squares), arrays.table("gallery", gallery)
    (num_queries, dimensions), num_gallery = query.shape, len(gallery)
    if gallery.shape[1] != dimensions:
        raise InputError(f"query has {dimensions} dimensions and gallery has {gallery.shape[1]}; they must agree.")
    if not 1 <= k <= num_gallery:
        raise InputError(f"k must be in 1 … {num_gallery}, the size of the gallery, not {k}.")
    devices = 1 if mesh is None else mesh.shape["data"]
    # A quarter each for the block of queries and the gallery block on host and device, the rest for the distances,
    # which exist about three times over: product, distance, and what the selection works on.
    query_length = block_length(num_queries, 4 * dimensions, max_bytes // 4)
    gallery_length = block_length(num_gallery, 8 * dimensions + 12 * query_length, 3 * max_bytes // 4, devices)
    spread = None if mesh is None else NamedSharding(mesh, PartitionSpec("data"))
    everywhere = None if mesh is None else NamedSharding(mesh, PartitionSpec())

    parts = []
    for top in range(0, num_queries, query_length):
        rows = query[top : top + query_length]
        on_device = jax.device_put(pad_rows(prepare(rows, metric), query_length), everywhere)
        best = jax.device_put(_nothing(query_length, k), everywhere)
        for left in range(0, num_gallery, gallery_length):
            block = np.asarray(gallery[left : left + gallery_length]).astype(np.float32, copy=False)
            if not top:
                arrays.finite("gallery", block, left, squares)
            block = jax.device_put(pad_rows(prepare(block, metric), gallery_length), spread)
            best = _merge(on_device, block, best, left, num_gallery, metric, mesh)
        parts.append([np.asarray(value)[: len(rows)] for value in best])
    distances, indices, farthest = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Nearest(distances, indices.astype(np.int64), farthest)


def nearest_among(features, k: int, metric: str, *, mesh: Mesh | None = None, max_bytes: int = MAX_BYTES) -> Nearest:
    """`nearest_rows(features, features, k, metric)` in half the time: a distance serves the rows of both its ends.

    With a `mesh` it is `nearest_rows`, which spreads.
    """
    if mesh is not None:
        return nearest_rows(features, features, k, metric, mesh=mesh, max_bytes=max_bytes)
    features = arrays.features("features", features, squares=metric != "cosine")
    count, dimensions = features.shape
    # A block pair costs 16·D·L bytes of features (two blocks, host and device) and about 16·L² of distances.
    longest = int((np.sqrt(dimensions**2 + max_bytes / 4) - dimensions) / 2)
    length = block_length(count, 1, longest)
    starts = range(0, count, length)

    def on_device(start: int) -> jax.Array:
        return jax.device_put(pad_rows(prepare(features[start : start + length], metric), length))

    best = [_nothing(length, k) for _ in starts]
    # Row block j meets the blocks before it as their partner, then itself and those behind: in the order of indices.
    for i, top in enumerate(starts):
        ours = on_device(top)
        for j, left in enumerate(starts):
            if j == i:
                best[i] = _merge(ours, ours, best[i], top, count, metric, None)
            elif j > i:
                best[i], best[j] = _merge_both(ours, on_device(left), best[i], best[j], top, left, count, metric)
    distances, indices, farthest = (
        np.concatenate([np.asarray(value) for value in values])[:count] for values in zip(*best, strict=True)
    )
    return Nearest(distances, indices.astype(np.int64), farthest)


def _nothing(length: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances, indices and farthest before anything was looked at."""
    return (
        np.full((length, k), np.inf, np.float32),
        np.full((length, k), -1, np.int32),
        np.full(length, -np.inf, np.float32),
    )


@functools.partial(jax.jit, static_argnames=("metric", "mesh"))
def _merge(queries, block, best, left, num_gallery, metric, mesh):
    """`best` (distances, indices, farthest), improved by the gallery rows `block`, which begin at `left`."""
    k = best[0].shape[1]
    if mesh is None:
        return _join(best, _select(distance_block(queries, block, metric), k, left, num_gallery))
    each = block.shape[0] // mesh.shape["data"]

    def shard(queries, block, left, num_gallery):
        left = left + jax.lax.axis_index("data") * each
        distances, indices, farthest = _select(distance_block(queries, block, metric), k, left, num_gallery)
        return distances, indices, farthest[:, None]

    plain, by_column = PartitionSpec(), PartitionSpec(None, "data")
    distances, indices, farthest = jax.shard_map(
        shard, mesh=mesh, in_specs=(plain, PartitionSpec("data"), plain, plain), out_specs=(by_column,) * 3
    )(queries, block, left, num_gallery)
    return _join(best, (distances, indices, farthest.max(axis=1)))


@functools.partial(jax.jit, static_argnames="metric")
def _merge_both(a, b, best_a, best_b, left_a, left_b, count, metric):
    """`best_a` improved by the rows `b` and `best_b` by the rows `a`, from the same distances."""
    distances = distance_block(a, b, metric)
    k = best_a[0].shape[1]
    return (
        _join(best_a, _select(distances, k, left_b, count)),
        _join(best_b, _select(distances.T, k, left_a, count)),
    )


def _select(distances, k, left, count):
    """The `k` smallest of each row of `distances` [Q, B], with their indices, and the largest; column 0 is `left`."""
    index = left + jnp.arange(distances.shape[1], dtype=jnp.int32)
    real = (index < count)[None, :]  # the last block is padded
    negative, position = jax.lax.top_k(jnp.where(real, -distances, -jnp.inf), min(k, distances.shape[1]))
    return -negative, index[position], jnp.where(real, distances, -jnp.inf).max(axis=1)


def _join(best, found):
    # What was found before has smaller indices and stands in front, so that `top_k` breaks ties by index.
    distances = jnp.concatenate([best[0], found[0]], axis=1)
    indices = jnp.concatenate([best[1], found[1]], axis=1)
    negative, position = jax.lax.top_k(-distances, best[0].shape[1])
    return -negative, jnp.take_along_axis(indices, position, axis=1), jnp.maximum(best[2], found[2])
