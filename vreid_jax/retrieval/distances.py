"""Distances between two sets of features, computed in blocks, whole or only the nearest."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays

METRICS = ("euclidean", "sqeuclidean", "cosine")
# Larger blocks fall out of the processor's cache: 512 MiB takes half as much time again.
MAX_BYTES = 64 * 2**20


def pairwise_distance(
    a, b, metric: str = "euclidean", *, mesh: Mesh | None = None, max_bytes: int = MAX_BYTES
) -> np.ndarray:
    """Distances [len(a), len(b)], float32, between the rows of `a` [Q, D] and `b` [G, D].

    "euclidean" |a-b|, "sqeuclidean" |a-b|², "cosine" 1 - a·b/(|a||b|), where a zero vector is at distance 1 from all.
    Matrix products at `Precision.HIGHEST`. `b` is taken in blocks, so that beyond the arguments and the result about
    `max_bytes` are used; with a `mesh` of this process's devices each block is spread over its `data` axis.
    Raises `InputError` for an unknown metric, NaN, values whose squares float32 cannot hold (but for the cosine), empty
    arrays, and dimensions that do not agree.
    """
    check_metric(metric)
    a, b = arrays.pair_of_features("a", a, "b", b, squares=metric != "cosine")
    result = np.empty((len(a), len(b)), np.float32)
    for rows, columns, block in _blocks(a, b, metric, mesh, max_bytes):
        result[rows, columns] = np.asarray(block)[: rows.stop - rows.start, : columns.stop - columns.start]
    return result


def block_length(count: int, bytes_each: int, max_bytes: int, multiple: int = 1) -> int:
    """Length of equal blocks that cover `count` items of `bytes_each` within `max_bytes`, a multiple of `multiple`.

    Equal, so that one compilation serves all and the last block is hardly padded.
    """
    blocks = -(-count // max(1, max_bytes // max(1, bytes_each)))
    length = -(-count // blocks)
    return -(-length // multiple) * multiple


@functools.partial(jax.jit, static_argnames="metric")
def distance_block(a: jax.Array, b: jax.Array, metric: str) -> jax.Array:
    """Distances [Q, B] of `a` [Q, D] and `b` [B, D] on the device, both prepared by `prepare`."""
    product = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    if metric == "cosine":
        return 1.0 - product
    squared = jnp.square(a).sum(axis=1)[:, None] + jnp.square(b).sum(axis=1)[None, :] - 2.0 * product
    squared = jnp.maximum(squared, 0.0)  # rounding may leave less than nothing
    return squared if metric == "sqeuclidean" else jnp.sqrt(squared)


def check_metric(metric: str) -> None:
    """`InputError` unless `metric` is one of `METRICS`."""
    if metric not in METRICS:
        raise InputError(f"metric must be one of {METRICS}, not {metric!r}.")


def prepare(features: np.ndarray, metric: str) -> np.ndarray:
    """`features` as `distance_block` wants them: of unit length for the cosine, as they are otherwise."""
    if metric != "cosine":
        return features
    norm = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))[:, None]
    return features / np.where(norm > 0, norm, 1.0).astype(np.float32)


def pad_rows(features: np.ndarray, length: int) -> np.ndarray:
    """`features` with zero rows up to `length`."""
    missing = length - len(features)
    return np.pad(features, ((0, missing), (0, 0))) if missing else features


def _blocks(a, b, metric, mesh, max_bytes):
    devices = 1 if mesh is None else mesh.shape["data"]
    dimensions = a.shape[1]
    query_length = block_length(len(a), 4 * dimensions, max_bytes // 2)
    gallery_length = block_length(len(b), 4 * (dimensions + query_length), max_bytes // 2, devices)
    spread = None if mesh is None else NamedSharding(mesh, PartitionSpec("data"))
    everywhere = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    for top in range(0, len(a), query_length):
        rows = slice(top, min(top + query_length, len(a)))
        queries = jax.device_put(pad_rows(prepare(a[rows], metric), query_length), everywhere)
        for left in range(0, len(b), gallery_length):
            columns = slice(left, min(left + gallery_length, len(b)))
            gallery = jax.device_put(pad_rows(prepare(b[columns], metric), gallery_length), spread)
            yield rows, columns, distance_block(queries, gallery, metric)
