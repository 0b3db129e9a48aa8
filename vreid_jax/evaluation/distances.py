"""Distances between rows of the test set, plain, learned or re-ranked."""

from collections.abc import Callable

import jax
import numpy as np

from vreid_jax import retrieval
from vreid_jax.evaluation.features import Features
from vreid_jax.evaluation.test_set import TestSet
from vreid_jax.retrieval.learned_metric import LearnedMetric
from vreid_jax.runtime.mesh import make_mesh


def distance_table(test: TestSet, distances, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Return the distances `[Q, G]` of chosen rows of `test.query` and `test.gallery`."""
    return distances(test.query_rows[query], test.gallery_rows[gallery])


def reranked(test: TestSet, distances, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Return `distance_table` re-ranked by k-reciprocal neighbours; it holds three tables of these rows meanwhile."""
    index = retrieval.protocols.query_index(test.query.tracklet_ids[query], test.gallery.tracklet_ids[gallery])
    q, g = test.query_rows[query], test.gallery_rows[gallery]
    within = distances(g, g)
    squared = getattr(distances, "squared", False)
    if index is not None:
        return retrieval.rerank_distances(None, None, within, query_index=index, squared=squared)
    return retrieval.rerank_distances(distances(q, g), distances(q, q), within, squared=squared)


def feature_distances(
    features: Features, metric: str | LearnedMetric
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return `distances(query_rows, gallery_rows)` over a table of features; attributes `squared` and `metric` say which.

    Distances that are not learned are computed on all of this process's devices.
    """
    learned = isinstance(metric, LearnedMetric)
    devices = jax.local_devices()
    mesh = make_mesh(devices) if len(devices) > 1 else None

    def between(a: Features, b: Features) -> np.ndarray:
        if isinstance(metric, LearnedMetric):
            return metric.distance(a, b)
        return retrieval.pairwise_distance(a, b, metric=metric, mesh=mesh)

    whole = between(features, features) if len(features) <= 4096 else None

    def distances(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        return between(features[query], features[gallery]) if whole is None else whole[np.ix_(query, gallery)]

    distances.squared = learned or metric == "sqeuclidean"
    distances.features, distances.between = features, between
    distances.metric = type(metric).__name__.lower() if learned else metric
    return distances
