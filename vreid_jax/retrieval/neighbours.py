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
    query, gallery = arrays.features("query", query), arrays.table("gallery", gallery)
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
        best = jax.device_put(
            (
                np.full((query_length, k), np.inf, np.float32),
                np.full((query_length, k), -1, np.int32),
                np.full(query_length, -np.inf, np.float32),
            ),
            everywhere,
        )
        for left in range(0, num_gallery, gallery_length):
            block = np.asarray(gallery[left : left + gallery_length]).astype(np.float32, copy=False)
            if not top:
                arrays.finite("gallery", block, left)
            block = jax.device_put(pad_rows(prepare(block, metric), gallery_length), spread)
            best = _merge(on_device, block, best, left, num_gallery, metric, mesh)
        parts.append([np.asarray(value)[: len(rows)] for value in best])
    distances, indices, farthest = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Nearest(distances, indices.astype(np.int64), farthest)


@functools.partial(jax.jit, static_argnames=("metric", "mesh"))
def _merge(queries, block, best, left, num_gallery, metric, mesh):
    """`best` (distances, indices, farthest), improved by the gallery rows `block`, which begin at `left`."""
    if mesh is None:
        found = _block_nearest(queries, block, best[0].shape[1], left, num_gallery, metric)
    else:
        each = block.shape[0] // mesh.shape["data"]

        def shard(queries, block, left, num_gallery):
            left = left + jax.lax.axis_index("data") * each
            distances, indices, farthest = _block_nearest(queries, block, best[0].shape[1], left, num_gallery, metric)
            return distances, indices, farthest[:, None]

        plain, by_column = PartitionSpec(), PartitionSpec(None, "data")
        distances, indices, farthest = jax.shard_map(
            shard, mesh=mesh, in_specs=(plain, PartitionSpec("data"), plain, plain), out_specs=(by_column,) * 3
        )(queries, block, left, num_gallery)
        found = distances, indices, farthest.max(axis=1)
    # What was found before has smaller indices and stands in front, so that `top_k` breaks ties by index.
    distances = jnp.concatenate([best[0], found[0]], axis=1)
    indices = jnp.concatenate([best[1], found[1]], axis=1)
    negative, position = jax.lax.top_k(-distances, best[0].shape[1])
    return -negative, jnp.take_along_axis(indices, position, axis=1), jnp.maximum(best[2], found[2])


def _block_nearest(queries, block, k, left, num_gallery, metric):
    distances = distance_block(queries, block, metric)
    index = left + jnp.arange(block.shape[0], dtype=jnp.int32)
    real = (index < num_gallery)[None, :]  # the last block is padded
    negative, position = jax.lax.top_k(jnp.where(real, -distances, -jnp.inf), min(k, block.shape[0]))
    farthest = jnp.where(real, distances, -jnp.inf).max(axis=1)
    return -negative, index[position], farthest
