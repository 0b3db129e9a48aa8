"""k-reciprocal re-ranking (Zhong et al., CVPR 2017) from nearest neighbours and sparse weights.

N tracklets (queries, then gallery; a query that is in the gallery enters once) have normalised distances
D[i, j] = d(i, j)² / max_j d(i, j)². R(i, k) are those of the k+1 nearest of i (itself included) that have i among their
own k+1 nearest; R*(i) adds R(c, k1/2) for each c in R(i, k1) of whose members more than two thirds are in R(i, k1)
(equation 5). V[i, j] = exp(-D[i, j]) over R*(i), scaled to sum 1 (equation 7, after the released code), then the mean
over the k2 nearest of i (equation 11). With s = Σ_j min(V[q, j], V[g, j]) the Jaccard distance is 1 - s/(2-s)
(equation 10), and the result is (1-λ)·Jaccard + λ·D[q, g] (equation 12).

A row of V has some dozens of entries, so no N x N array is needed: the k1+1 nearest of each row, its largest distance,
and the distances of the few pairs that the expansion adds are enough.
"""

# SciPy has no types, and NumPy leaves the one of an `arange` unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh
from scipy.sparse import csr_array

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays
from vreid_jax.retrieval.arrays import ArrayLike
from vreid_jax.retrieval.block_size import block_bytes
from vreid_jax.retrieval.distances import pairwise_distance
from vreid_jax.retrieval.neighbours import Nearest, nearest_among

Sparse: TypeAlias = Any  # a SciPy array
Lookup: TypeAlias = Callable[[int, np.ndarray], np.ndarray]
"""The squared distances of a row to others."""


def rerank(
    query_features: ArrayLike,
    gallery_features: ArrayLike,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float | int = 0.3,
    query_index: ArrayLike | None = None,
    *,
    mesh: Mesh | None = None,
    max_bytes: int | None = None,
) -> np.ndarray:
    """Re-rank by Euclidean distances between features.

    Args:
      query_features: [Q, D].
      gallery_features: [G, D]; leave junk out of it, since it would enter the neighbourhoods.
      k1: size of the reciprocal neighbourhoods.
      k2: neighbours that the local query expansion averages over.
      lambda_value: weight of the original distance in [0, 1].
      query_index: [Q] gallery rows of the queries, if they are in the gallery; they then enter the neighbourhoods once.
      mesh: devices of this process, over which blocks of distances are sharded.
      max_bytes: memory for a block of distances; `block_bytes` by default.

    Returns:
      [Q, G] float32.

    Raises:
      InputError: for k1 or k2 below 1, λ outside [0, 1], and what `pairwise_distance` refuses.
    """
    _check_options(k1, k2, lambda_value)
    query, gallery = arrays.pair_of_features(
        "query_features", query_features, "gallery_features", gallery_features, require_finite_squares=True
    )
    queries, columns = _rows_among_all(len(query), len(gallery), query_index)
    features = gallery if query_index is not None else np.concatenate([query, gallery])
    k = min(max(k1 + 1, k2), len(features))
    nearest = nearest_among(features, k, "sqeuclidean", mesh=mesh, max_bytes=max_bytes)
    squared = pairwise_distance(features[queries], gallery, "sqeuclidean", mesh=mesh, max_bytes=max_bytes)

    def lookup(row: int, others: np.ndarray) -> np.ndarray:
        difference = features[others] - features[row]
        return np.einsum("nd,nd->n", difference, difference)

    return _rerank(nearest, lookup, squared, queries, columns, k1, k2, lambda_value)


def rerank_distances(
    query_gallery: ArrayLike | None,
    query_query: ArrayLike | None,
    gallery_gallery: ArrayLike,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float | int = 0.3,
    query_index: ArrayLike | None = None,
    *,
    squared: bool = False,
) -> np.ndarray:
    """Re-rank by given distances of any metric.

    Args:
      query_gallery: [Q, G]; may be None with `query_index`.
      query_query: [Q, Q]; may be None with `query_index`.
      gallery_gallery: [G, G].
      k1: as for `rerank`.
      k2: as for `rerank`.
      lambda_value: as for `rerank`.
      query_index: as for `rerank`; with it only `gallery_gallery` is read.
      squared: whether the distances are squared already, as those of XQDA (which may be negative) and KISSME are, and
        up to a factor of 2 cosine distances. Others are squared first, as published.

    Returns:
      [Q, G] float32.

    Raises:
      InputError: for shapes that do not fit, NaN, negative distances that would be squared, squared distances that
        overflow float32, and options out of range.
    """
    _check_options(k1, k2, lambda_value)
    among_gallery = arrays.distances("gallery_gallery", gallery_gallery)
    num_gallery = len(among_gallery)
    # With `query_index` the queries are gallery rows, and the other two matrices have no part in it.
    across = among_queries = among_gallery[:0]
    blocks = [("gallery_gallery", among_gallery, (num_gallery, num_gallery))]
    if query_index is not None:
        num_queries = np.size(query_index)
    else:
        across = arrays.distances("query_gallery", query_gallery)
        among_queries = arrays.distances("query_query", query_query)
        num_queries = len(across)
        blocks.append(("query_gallery", across, (num_queries, num_gallery)))
        blocks.append(("query_query", among_queries, (num_queries, num_queries)))
    for name, piece, shape in blocks:
        if piece.shape != shape:
            raise InputError(f"{name} must be of shape {shape} to fit the others, not {piece.shape}.")
        if not squared and piece.min() < 0:
            raise InputError(f"{name} has negative distances; pass squared=True if they are squared distances.")
        largest = float(max(piece.max(), -piece.min()))
        if not (largest if squared else largest**2) <= float(np.finfo(np.float32).max):
            raise InputError(
                f"{name} has infinite distances, or too large ones to be squared; re-ranking needs finite squared distances."
            )
    queries, columns = _rows_among_all(num_queries, num_gallery, query_index)
    offset = 0 if query_index is not None else num_queries

    def rows_of(rows: np.ndarray) -> np.ndarray:
        # The published code reads columns, which matters where d(i, j) is not d(j, i).
        if query_index is not None:
            values = among_gallery.T[rows]
        else:
            of_query, of_gallery = rows[rows < offset], rows[rows >= offset] - offset
            values = np.concatenate(
                [
                    np.concatenate([among_queries.T[of_query], across[of_query]], axis=1),
                    np.concatenate([across.T[of_gallery], among_gallery.T[of_gallery]], axis=1),
                ]
            )
        return (values if squared else np.square(values)).astype(np.float32)

    total = num_gallery + offset
    k = min(max(k1 + 1, k2), total)
    nearest = _nearest_of_matrix(rows_of, total, k)
    original = rows_of(queries)[:, columns]
    return _rerank(
        nearest,
        lambda row, others: rows_of(np.array([row]))[0, others],
        original,
        queries,
        columns,
        k1,
        k2,
        lambda_value,
    )


def _rerank(
    nearest: Nearest,
    lookup: Lookup,
    squared: np.ndarray,
    queries: np.ndarray,
    columns: np.ndarray,
    k1: int,
    k2: int,
    lambda_value: float | int,
) -> np.ndarray:
    """Run the algorithm on squared distances.

    Args:
      nearest: the neighbours of all N rows.
      lookup: the squared distances of one row to others.
      squared: [Q, G] the squared distances; overwritten with the result.
      queries: [Q] rows of the queries among all N.
      columns: [G] rows of the gallery among all N.
      k1: as for `rerank`.
      k2: as for `rerank`.
      lambda_value: as for `rerank`.
    """
    nearest = _self_first(nearest)
    scale = np.where(nearest.farthest > 0, nearest.farthest, 1.0).astype(np.float64)
    weights = _neighbour_weights(nearest, lookup, scale, k1)
    if k2 > 1:
        weights = (_indicators(nearest.indices[:, :k2]) @ weights) / min(k2, nearest.indices.shape[1])
    result = squared  # overwritten row by row: at N = 50,000 no array is larger
    inverted = weights[columns].tocsc()
    for row, query in enumerate(queries.tolist()):
        overlap = _min_sums(weights, query, inverted)
        jaccard = 1.0 - overlap / (2.0 - overlap)
        result[row] = (1.0 - lambda_value) * jaccard + (lambda_value / scale[query]) * squared[row]
    return result


def _self_first(nearest: Nearest) -> Nearest:
    """Move each row to the front of its own neighbours: its distance to itself is 0, whatever rounding made of it."""
    distances, indices = nearest.distances.copy(), nearest.indices
    distances[indices == np.arange(len(indices))[:, None]] = min(0.0, float(distances.min()))
    order = np.argsort(distances, axis=1, kind="stable")
    return Nearest(
        np.take_along_axis(distances, order, axis=1), np.take_along_axis(indices, order, axis=1), nearest.farthest
    )


def _indicators(indices: np.ndarray) -> Sparse:
    """Return the sparse [N, N] matrix that is 1 at (i, j) for j in `indices[i]`, of `indices` [N, k]."""
    count, k = indices.shape
    starts = np.arange(0, count * k + 1, k)
    matrix = _csr((np.ones(count * k, np.float32), indices.flatten(), starts), count)
    matrix.sort_indices()
    return matrix


def _csr(entries: tuple[Any, ...], count: int) -> Sparse:
    return csr_array(entries, shape=(count, count))


def _neighbour_weights(nearest: Nearest, lookup: Lookup, scale: np.ndarray, k1: int) -> Sparse:
    """Return V [N, N] before the local query expansion: exp(-D) over R*(i), each row summing to 1."""
    near, half = _indicators(nearest.indices[:, : k1 + 1]), _indicators(nearest.indices[:, : round(k1 / 2) + 1])
    reciprocal, half_reciprocal = near.multiply(near.T).tocsr(), half.multiply(half.T).tocsr()
    # How many members of a candidate's R(c, k1/2) are in R(i, k1): counts, which float32 holds exactly.
    shared = (reciprocal @ half_reciprocal.T).multiply(reciprocal).tocoo()
    sizes = np.diff(half_reciprocal.indptr)
    accepted = 3 * shared.data > 2 * sizes[shared.col]
    pairs = (shared.row[accepted], shared.col[accepted])
    candidates = _csr((np.ones(accepted.sum(), np.float32), pairs), len(nearest.indices))
    weights = (reciprocal + candidates @ half_reciprocal).tocsr().astype(np.float64)
    weights.sort_indices()

    count, k = nearest.indices.shape
    known_keys = (np.arange(count)[:, None] * count + nearest.indices).ravel()
    order = np.argsort(known_keys)
    known_keys, known = known_keys[order], nearest.distances.ravel()[order]
    rows = np.repeat(np.arange(count), np.diff(weights.indptr))
    keys = rows * count + weights.indices
    position = np.minimum(np.searchsorted(known_keys, keys), count * k - 1)
    squared = known[position].astype(np.float64)
    missing = np.flatnonzero(known_keys[position] != keys)
    starts = np.flatnonzero(np.diff(rows[missing], prepend=-1))
    for part in np.split(missing, starts[1:]) if len(missing) else ():
        squared[part] = lookup(int(rows[part[0]]), weights.indices[part])
    weights.data = np.exp(-squared / scale[rows])
    weights.data /= np.bincount(rows, weights=weights.data, minlength=count)[rows]
    return weights


def _min_sums(weights: Sparse, query: int, inverted: Sparse) -> np.ndarray:
    """Return Σ_j min(V[query, j], V[g, j]) for every gallery row g: [G]."""
    entries = slice(weights.indptr[query], weights.indptr[query + 1])
    columns, values = weights.indices[entries], weights.data[entries]
    starts, lengths = inverted.indptr[columns], np.diff(inverted.indptr)[columns]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    entries = np.repeat(starts, lengths) + within
    smaller = np.minimum(np.repeat(values, lengths), inverted.data[entries])
    return np.bincount(inverted.indices[entries], weights=smaller, minlength=inverted.shape[0])


def _nearest_of_matrix(rows_of: Callable[[np.ndarray], np.ndarray], total: int, k: int) -> Nearest:
    """Return the `k` nearest of each of `total` rows, of distances given row by row."""
    distances: list[np.ndarray] = []
    indices: list[np.ndarray] = []
    farthest: list[np.ndarray] = []
    block = max(1, block_bytes() // (12 * total))
    for top in range(0, total, block):
        values = rows_of(np.arange(top, min(top + block, total)))
        negative, position = jax.lax.top_k(-values, k)
        distances.append(-np.asarray(negative))
        indices.append(np.asarray(position))
        farthest.append(values.max(axis=1))
    return Nearest(np.concatenate(distances), np.concatenate(indices).astype(np.int64), np.concatenate(farthest))


def _rows_among_all(num_queries: int, num_gallery: int, query_index: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the queries and those of the gallery among all N."""
    if query_index is None:
        return np.arange(num_queries), num_queries + np.arange(num_gallery)
    queries = arrays.identities("query_index", query_index, num_queries)
    if len(queries) and not (queries.min() >= 0 and queries.max() < num_gallery):
        raise InputError(f"query_index must hold rows of the gallery, 0 … {num_gallery - 1}.")
    return queries, np.arange(num_gallery)


def _check_options(k1: int, k2: int, lambda_value: float | int) -> None:
    if k1 < 1 or k2 < 1:
        raise InputError(f"k1 and k2 must be at least 1, not {k1} and {k2}.")
    if not 0.0 <= lambda_value <= 1.0:
        raise InputError(f"lambda_value must be in [0, 1], not {lambda_value}.")
