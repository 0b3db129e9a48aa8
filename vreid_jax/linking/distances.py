"""Squared Euclidean distances, of which clusters have means, and those of a metric."""

import numpy as np

from vreid_jax.retrieval.distances import METRICS


def from_squared(squared: np.ndarray | float, metric: str) -> np.ndarray:
    """Return distances of a metric from squared Euclidean ones, for "cosine" between vectors of unit length."""
    assert metric in METRICS
    if metric == "cosine":
        return np.asarray(squared) / 2
    return np.sqrt(squared) if metric == "euclidean" else np.asarray(squared)


def to_squared(distance: float, metric: str) -> float:
    """Return the squared Euclidean distance that is this one in a metric."""
    assert metric in METRICS
    if metric == "cosine":
        return 2 * distance
    return distance**2 if metric == "euclidean" else distance


def pair_distances(vectors: np.ndarray, pairs: np.ndarray, metric: str) -> np.ndarray:
    """Return [E] float64 distances between the rows of pairs [E, 2]; for "cosine" vectors are of unit length."""
    squared = np.empty(len(pairs))
    for start in range(0, len(pairs), 4096):
        one, other = pairs[start : start + 4096].T
        difference = vectors[one].astype(np.float64) - vectors[other]
        squared[start : start + 4096] = np.einsum("nd,nd->n", difference, difference)
    return from_squared(squared, metric)
