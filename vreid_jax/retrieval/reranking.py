"""k-reciprocal re-ranking (Zhong et al., CVPR 2017), from the nearest neighbours alone and with sparse weights.

N tracklets (queries, then gallery; a query that is in the gallery enters once) have normalised distances
D[i, j] = d(i, j)² / max_j d(i, j)². R(i, k) are those of the k+1 nearest of i (itself included) that have i among their
own k+1 nearest; R*(i) adds R(c, k1/2) for each c in R(i, k1) of whose members more than two thirds are in R(i, k1)
(equation 5). V[i, j] = exp(-D[i, j]) over R*(i), scaled to sum 1 (equation 7, after the released code), then the mean
over the k2 nearest of i (equation 11). With s = Σ_j min(V[q, j], V[g, j]) the Jaccard distance is 1 - s/(2-s)
(equation 10), and the result is (1-λ)·Jaccard + λ·D[q, g] (equation 12).

A row of V has some dozens of entries, so nothing of size N x N is needed: the k1+1 nearest of each row, its largest
distance, and the distances of the few pairs that the expansion adds.
"""

from collections.abc import Callable

import jax
import numpy as np
import scipy.sparse as sp
from jax.sharding import Mesh

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays
from vreid_jax.retrieval.distances import MAX_BYTES, pairwise_distance
from vreid_jax.retrieval.neighbours import Nearest, nearest_among


def rerank(
    query_features,
    gallery_features,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float | int = 0.3,
    query_index=None,
    *,
    mesh: Mesh | None = None,
    max_bytes: int = MAX_BYTES,
) -> np.ndarray:
    """Re-ranked distances [Q, G], float32, of `query_features` [Q, D] and `gallery_features` [G, D] (Euclidean).

    `query_index` [Q]: rows of the gallery that the queries are, if they are in it; they then enter the neighbourhoods
    once (leave junk out of the gallery for the same reason). `max_bytes` bounds a block of distances; `mesh` spreads
    them. Raises `InputError` for k1 or k2 below 1, λ outside [0, 1], and what `pairwise_distance` refuses.
    """
    _check(k1, k2, lambda_value)
    query, gallery = arrays.pair_of_features(
        "query_features", query_features, "gallery_features", gallery_features, squares=True
    )
    queries, columns = _places(len(query), len(gallery), query_index)
    everything = gallery if query_index is not None else np.concatenate([query, gallery])
    k = min(max(k1 + 1, k2), len(everything))
    nearest = nearest_among(everything, k, "sqeuclidean", mesh=mesh, max_bytes=max_bytes)
    squared = pairwise_distance(everything[queries], gallery, "sqeuclidean", mesh=mesh, max_bytes=max_bytes)

    def lookup(row: int, others: np.ndarray) -> np.ndarray:
        difference = everything[others] - everything[row]
        return np.einsum("nd,nd->n", difference, difference)

    return _rerank(nearest, lookup, squared, queries, columns, k1, k2, lambda_value)


def rerank_distances(
    query_gallery,
    query_query,
    gallery_gallery,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float | int = 0.3,
    query_index=None,
    *,
    squared: bool = False,
) -> np.ndarray:
    """`rerank` for given distances [Q, G], [Q, Q] and [G, G] of any metric; returns [Q, G], float32.

    They are squared first, as published; with `squared` they are taken as they are (XQDA and KISSME are squared
    distances already, and XQDA's may be negative). With `query_index` only `gallery_gallery` is looked at and the other
    two may be None. Raises `InputError` for shapes that do not fit, NaN, negative distances that would be squared, and
    squared distances that are not finite in float32.
    """
    _check(k1, k2, lambda_value)
    gallery_gallery = arrays.distances("gallery_gallery", gallery_gallery)
    num_gallery = len(gallery_gallery)
    pieces = [("gallery_gallery", gallery_gallery, (num_gallery, num_gallery))]
    if query_index is None:
        query_gallery = arrays.distances("query_gallery", query_gallery)
        query_query = arrays.distances("query_query", query_query)
        num_queries = len(query_gallery)
        pieces.append(("query_gallery", query_gallery, (num_queries, num_gallery)))
        pieces.append(("query_query", query_query, (num_queries, num_queries)))
    else:
        num_queries = np.size(query_index)
    for name, piece, shape in pieces:
        if piece.shape != shape:
            raise InputError(f"{name} must be of shape {shape} to fit the others, not {piece.shape}.")
        if not squared and piece.min() < 0:
            raise InputError(f"{name} has negative distances; pass squared=True if they are squared distances.")
        largest = float(max(piece.max(), -piece.min()))
        if not (largest if squared else largest**2) <= float(np.finfo(np.float32).max):
            raise InputError(
                f"{name} has infinite distances, or too large ones to be squared; re-ranking needs finite ones."
            )
    queries, columns = _places(num_queries, num_gallery, query_index)
    offset = 0 if query_index is not None else num_queries

    def rows_of(rows: np.ndarray) -> np.ndarray:
        # The published code reads columns, which matters where d(i, j) is not d(j, i).
        if query_index is not None:
            values = gallery_gallery.T[rows]
        else:
            ours, theirs = rows[rows < offset], rows[rows >= offset] - offset
            values = np.concatenate(
                [
                    np.concatenate([query_query.T[ours], query_gallery[ours]], axis=1),
                    np.concatenate([query_gallery.T[theirs], gallery_gallery.T[theirs]], axis=1),
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
    lookup: Callable[[int, np.ndarray], np.ndarray],
    squared: np.ndarray,
    queries: np.ndarray,
    columns: np.ndarray,
    k1: int,
    k2: int,
    lambda_value: float | int,
) -> np.ndarray:
    """The algorithm, from squared distances: of the `nearest`, by `lookup`, and `squared` [Q, G], which is overwritten."""
    nearest = _self_first(nearest)
    scale = np.where(nearest.farthest > 0, nearest.farthest, 1.0).astype(np.float64)
    weights = _weights(nearest, lookup, scale, k1)
    if k2 > 1:
        weights = (_pattern(nearest.indices[:, :k2]) @ weights) / min(k2, nearest.indices.shape[1])
    result = squared  # row by row in its place: at N = 50,000 it is the largest array there is
    inverted = weights[columns].tocsc()
    for row, query in enumerate(queries.tolist()):
        overlap = _overlap(weights, query, inverted)
        jaccard = 1.0 - overlap / (2.0 - overlap)
        result[row] = (1.0 - lambda_value) * jaccard + (lambda_value / scale[query]) * squared[row]
    return result


def _self_first(nearest: Nearest) -> Nearest:
    """The distance of a row to itself is 0, whatever rounding made of it."""
    distances, indices = nearest.distances.copy(), nearest.indices
    distances[indices == np.arange(len(indices))[:, None]] = min(0.0, float(distances.min()))
    order = np.argsort(distances, axis=1, kind="stable")
    return Nearest(
        np.take_along_axis(distances, order, axis=1), np.take_along_axis(indices, order, axis=1), nearest.farthest
    )


def _pattern(indices: np.ndarray) -> sp.csr_array:
    """[N, N], 1 at (i, j) for j in `indices[i]` [N, k]."""
    count, k = indices.shape
    starts = np.arange(0, count * k + 1, k)
    matrix = sp.csr_array((np.ones(count * k, np.float32), indices.flatten(), starts), shape=(count, count))
    matrix.sort_indices()
    return matrix


def _weights(nearest: Nearest, lookup: Callable, scale: np.ndarray, k1: int) -> sp.csr_array:
    """V [N, N] before its local expansion: exp(-D) over R*(i), rows summing to 1."""
    near, half = _pattern(nearest.indices[:, : k1 + 1]), _pattern(nearest.indices[:, : round(k1 / 2) + 1])
    reciprocal, half_reciprocal = near.multiply(near.T).tocsr(), half.multiply(half.T).tocsr()
    # How many of a candidate's own half neighbourhood are in R(i): counts are whole numbers, exact in float32.
    shared = (reciprocal @ half_reciprocal.T).multiply(reciprocal).tocoo()
    sizes = np.diff(half_reciprocal.indptr)
    accepted = 3 * shared.data > 2 * sizes[shared.col]
    candidates = sp.csr_array(
        (np.ones(accepted.sum(), np.float32), (shared.row[accepted], shared.col[accepted])), shape=near.shape
    )
    weights = (reciprocal + candidates @ half_reciprocal).tocsr().astype(np.float64)
    weights.sort_indices()

    count, k = nearest.indices.shape
    known_keys = (np.arange(count)[:, None] * count + nearest.indices).ravel()
    order = np.argsort(known_keys)
    known_keys, known = known_keys[order], nearest.distances.ravel()[order]
    rows = np.repeat(np.arange(count), np.diff(weights.indptr))
    keys = rows * count + weights.indices
    place = np.minimum(np.searchsorted(known_keys, keys), count * k - 1)
    missing = known_keys[place] != keys
    squared = known[place].astype(np.float64)
    where = np.flatnonzero(missing)
    starts = np.flatnonzero(np.diff(rows[where], prepend=-1))
    for part in np.split(where, starts[1:]) if len(where) else ():
        squared[part] = lookup(int(rows[part[0]]), weights.indices[part])
    weights.data = np.exp(-squared / scale[rows])
    weights.data /= np.bincount(rows, weights=weights.data, minlength=count)[rows]
    return weights


def _overlap(weights: sp.csr_array, query: int, inverted: sp.csc_array) -> np.ndarray:
    """Σ_j min(V[query, j], V[g, j]) for every gallery row g: [G]."""
    entries = slice(weights.indptr[query], weights.indptr[query + 1])
    columns, values = weights.indices[entries], weights.data[entries]
    starts, lengths = inverted.indptr[columns], np.diff(inverted.indptr)[columns]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = np.repeat(starts, lengths) + within
    smaller = np.minimum(np.repeat(values, lengths), inverted.data[places])
    return np.bincount(inverted.indices[places], weights=smaller, minlength=inverted.shape[0])


def _nearest_of_matrix(rows_of: Callable[[np.ndarray], np.ndarray], total: int, k: int) -> Nearest:
    distances, indices, farthest = [], [], []
    block = max(1, MAX_BYTES // (12 * total))
    for top in range(0, total, block):
        values = rows_of(np.arange(top, min(top + block, total)))
        negative, position = jax.lax.top_k(-values, k)
        distances.append(-np.asarray(negative))
        indices.append(np.asarray(position))
        farthest.append(values.max(axis=1))
    return Nearest(np.concatenate(distances), np.concatenate(indices).astype(np.int64), np.concatenate(farthest))


def _places(num_queries: int, num_gallery: int, query_index) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the queries and of the gallery among all N."""
    if query_index is None:
        return np.arange(num_queries), num_queries + np.arange(num_gallery)
    query_index = arrays.identities("query_index", query_index, num_queries)
    if len(query_index) and not (query_index.min() >= 0 and query_index.max() < num_gallery):
        raise InputError(f"query_index must hold rows of the gallery, 0 … {num_gallery - 1}.")
    return query_index, np.arange(num_gallery)


def _check(k1: int, k2: int, lambda_value: float | int) -> None:
    if k1 < 1 or k2 < 1:
        raise InputError(f"k1 and k2 must be at least 1, not {k1} and {k2}.")
    if not 0.0 <= lambda_value <= 1.0:
        raise InputError(f"lambda_value must be in [0, 1], not {lambda_value}.")
