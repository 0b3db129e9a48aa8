"""Distances between two sets of features, computed in blocks."""

# JAX leaves the type of `device` in its own signatures unknown.
# pyright: reportUnknownMemberType=false

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays
from vreid_jax.retrieval.arrays import ArrayLike
from vreid_jax.retrieval.block_size import block_bytes

METRICS = ("euclidean", "sqeuclidean", "cosine")


def plain_metric(metric: str) -> str:
    """Return how vectors are compared by themselves where a run is scored by `metric`: Euclidean for one that is learned."""
    return metric if metric in METRICS else METRICS[0]


def pairwise_distance(
    a: ArrayLike, b: ArrayLike, metric: str = "euclidean", *, mesh: Mesh | None = None, max_bytes: int | None = None
) -> np.ndarray:
    """Compute the distances between the rows of two sets of features.

    Matrix products run at `Precision.HIGHEST`.

    Args:
      a: [Q, D] features.
      b: [G, D] features.
      metric: "euclidean" |a-b|, "sqeuclidean" |a-b|², or "cosine" 1 - a·b/(|a||b|), in which a zero vector has
        distance 1 from every other.
      mesh: devices of this process; each block of `b` is sharded over the axis `data`.
      max_bytes: memory for blocks, beyond the arguments and the result; `block_bytes` by default.

    Returns:
      [Q, G] float32.

    Raises:
      InputError: for an unknown metric, empty arrays, NaN, dimensions that do not agree and, unless the metric is
        "cosine", values whose squares overflow float32.
    """
    check_metric(metric)
    queries, gallery = arrays.pair_of_features("a", a, "b", b, require_finite_squares=metric != "cosine")
    result = np.empty((len(queries), len(gallery)), np.float32)
    blocks = DistanceBlocks(queries, gallery, metric, mesh, block_bytes(mesh) if max_bytes is None else max_bytes)
    for rows in blocks.rows:
        for columns, block in zip(blocks.columns, blocks.of_rows(rows), strict=True):
            result[rows, columns] = np.asarray(block)[: rows.stop - rows.start, : columns.stop - columns.start]
    return result


def block_length(count: int, bytes_each: int, max_bytes: int, multiple: int = 1) -> int:
    """Return the length of equal blocks that cover `count` items of `bytes_each` within `max_bytes`.

    The length is a multiple of `multiple`. Blocks are equal so that one compilation serves all of them and the last one
    is hardly padded.
    """
    blocks = -(-count // max(1, max_bytes // max(1, bytes_each)))
    length = -(-count // blocks)
    return -(-length // multiple) * multiple


@functools.partial(jax.jit, static_argnames="metric")
def distance_block(a: jax.Array, b: jax.Array, metric: str) -> jax.Array:
    """Compute the distances [Q, B] of `a` [Q, D] and `b` [B, D], both from `prepare`, on the device."""
    product = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    if metric == "cosine":
        return jnp.maximum(1.0 - product, 0.0)  # rounding may leave a negative number, here and below
    squared = jnp.square(a).sum(axis=1)[:, None] + jnp.square(b).sum(axis=1)[None, :] - 2.0 * product
    squared = jnp.maximum(squared, 0.0)
    return squared if metric == "sqeuclidean" else jnp.sqrt(squared)


def check_metric(metric: str) -> None:
    """Raise `InputError` unless `metric` is one of `METRICS`."""
    if metric not in METRICS:
        raise InputError(f"metric must be one of {METRICS}, not {metric!r}.")


def prepare(features: np.ndarray, metric: str) -> np.ndarray:
    """Return `features` as `distance_block` expects them: of unit length for "cosine", unchanged otherwise."""
    if metric != "cosine":
        return features
    norm = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))[:, None]
    return features / np.where(norm > 0, norm, 1.0).astype(np.float32)


def pad_rows(features: np.ndarray, length: int) -> np.ndarray:
    """Append zero rows to `features` up to `length` rows."""
    missing = length - len(features)
    return np.pad(features, ((0, missing), (0, 0))) if missing else features


class DistanceBlocks:
    """The distance matrix of two sets of features in equal blocks, computed on the devices when they are asked for.

    Attributes:
      query_length: rows of a block, the last one padded.
      gallery_length: columns of a block, likewise.
    """

    def __init__(self, a: np.ndarray, b: np.ndarray, metric: str, mesh: Mesh | None, max_bytes: int):
        devices = 1 if mesh is None else mesh.shape["data"]
        dimensions = a.shape[1]
        self.query_length = block_length(len(a), 4 * dimensions, max_bytes // 2)
        row_bytes = 4 * (dimensions + self.query_length)
        self.gallery_length = block_length(len(b), row_bytes, max_bytes // 2, devices)
        self._a, self._b, self._metric, self._mesh = a, b, metric, mesh

    @property
    def rows(self) -> list[slice]:
        """The rows of each block of queries."""
        return _slices(len(self._a), self.query_length)

    @property
    def columns(self) -> list[slice]:
        """The columns of each block of the gallery."""
        return _slices(len(self._b), self.gallery_length)

    def of_rows(self, rows: slice) -> Iterator[jax.Array]:
        """Yield the padded blocks `[query_length, gallery_length]` of some rows, in the order of `columns`."""
        queries = place(pad_rows(prepare(self._a[rows], self._metric), self.query_length), self._mesh)
        for columns in self.columns:
            block = pad_rows(prepare(self._b[columns], self._metric), self.gallery_length)
            yield distance_block(queries, place(block, self._mesh, "data"), self._metric)


def place(array: np.ndarray, mesh: Mesh | None, *axes: str | None) -> jax.Array:
    """Put an array that every process holds on the device, or on a mesh, sharded by its first dimensions as `axes` say."""
    if mesh is None:
        return jax.device_put(array)
    return jax.make_array_from_callback(
        array.shape, NamedSharding(mesh, PartitionSpec(*axes)), lambda index: array[index]
    )


def keep_up(before: Any, mesh: Mesh | None) -> None:
    """Wait until a mesh has done the block before the one that was just given to it.

    Two blocks under way keep its devices busy. With many, the virtual devices of a CPU, which has fewer threads than these
    ask for, wait for each other for ever.
    """
    if mesh is not None:
        jax.block_until_ready(before)


def _slices(count: int, length: int) -> list[slice]:
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]
