"""A gallery that stays on the device, for many searches of a few queries each."""

# Types that JAX leaves unknown: of `device` in its signatures, and of what a jitted function returns.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays
from vreid_jax.retrieval.arrays import ArrayLike
from vreid_jax.retrieval.distances import check_metric, pad_rows, prepare

MOST_QUERIES = 64  # of one call


class ResidentGallery:
    """The features of a gallery, checked and copied to the device once.

    `top_k` copies and checks the whole gallery in every call, which takes longer than to search it for a few queries.
    """

    def __init__(self, gallery: ArrayLike, metric: str = "euclidean"):
        """Copy a gallery.

        Args:
          gallery: [G, D] features.
          metric: as for `pairwise_distance`.

        Raises:
          InputError: as `top_k`.
        """
        check_metric(metric)
        self.metric = metric
        table = arrays.features("gallery", gallery, require_finite_squares=metric != "cosine")
        prepared = prepare(table, metric)
        squares = np.einsum("gd,gd->g", prepared, prepared)
        self._on_device = (jax.device_put(prepared), jax.device_put(squares))
        self._size, self._dimensions = table.shape

    def __len__(self) -> int:
        return self._size

    def top_k(self, query: ArrayLike, k: int, hidden: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Find the `k` nearest gallery rows of each query, exactly, as `retrieval.top_k` does.

        A program is compiled for each power of two that holds the number of queries, and for each that holds `k`.

        Args:
          query: [Q, D] features, Q at most `MOST_QUERIES`.
          k: how many to find, at most G.
          hidden: [Q, G] booleans: rows that a query must not find.

        Returns:
          Distances [Q, k] float32 from near to far, ties by gallery index, and gallery rows [Q, k] int64. What is left
          when all that may be found was found is at an infinite distance.

        Raises:
          InputError: for queries of another dimension, too many of them, or NaN, and for an impossible `k`.
        """
        queries = arrays.features("query", query, require_finite_squares=self.metric != "cosine")
        count, dimensions = queries.shape
        if dimensions != self._dimensions:
            raise InputError(f"query has {dimensions} dimensions and gallery has {self._dimensions}; they must agree.")
        if count > MOST_QUERIES:
            raise InputError(f"there are {count} queries; at most {MOST_QUERIES} are searched for at once.")
        if not 1 <= k <= self._size:
            raise InputError(f"k must be in 1 … {self._size}, the size of the gallery, not {k}.")
        length, depth = _power_of_two(count), min(self._size, _power_of_two(k))
        padded = pad_rows(prepare(queries, self.metric), length)
        mask = None if hidden is None else pad_rows(np.asarray(hidden, np.bool_), length)
        distances, rows = _nearest(padded, *self._on_device, mask, depth, self.metric)
        return np.asarray(distances)[:count, :k], np.asarray(rows)[:count, :k].astype(np.int64)


def _power_of_two(count: int) -> int:
    """Return the smallest power of two that is not below `count`."""
    return 1 << (count - 1).bit_length()


@functools.partial(jax.jit, static_argnames=("k", "metric"))
def _nearest(
    queries: jax.Array, gallery: jax.Array, squares: jax.Array, hidden: jax.Array | None, k: int, metric: str
) -> tuple[jax.Array, jax.Array]:
    """Return the `k` smallest distances of each query, hidden rows at infinity, and their gallery rows."""
    # The other way round, XLA's CPU transposes the gallery first, in five times the time; the barrier keeps it from
    # turning the product round itself.
    product = jnp.matmul(gallery, queries.T, precision=jax.lax.Precision.HIGHEST)
    product = jax.lax.optimization_barrier(product).T
    if metric == "cosine":
        distances = jnp.maximum(1.0 - product, 0.0)  # rounding may leave a negative number, here and below
    else:
        squared = jnp.square(queries).sum(axis=1)[:, None] + squares[None, :] - 2.0 * product
        squared = jnp.maximum(squared, 0.0)
        distances = squared if metric == "sqeuclidean" else jnp.sqrt(squared)
    if hidden is not None:
        distances = jnp.where(hidden, jnp.inf, distances)
    negative, rows = jax.lax.top_k(-distances, k)
    return -negative, rows
