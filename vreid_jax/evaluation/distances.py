"""Distances between rows of the test set, and the rankings they give: plain, learned or re-ranked."""

import functools

import jax
import numpy as np
from jax.sharding import Mesh

from vreid_jax import retrieval
from vreid_jax.evaluation.features import Features
from vreid_jax.evaluation.test_set import TestSet
from vreid_jax.retrieval.learned_metric import LearnedMetric
from vreid_jax.runtime.mesh import make_mesh

TABLE_ROWS = 4096  # up to so many, the distances of all pairs are computed once and kept


class Distances:
    """`distances(query_rows, gallery_rows)` `[Q, G]` float32 over a table of N tracklets.

    Attributes:
      metric: the name of the distance.
      squared: whether re-ranking takes the distances as they are, rather than squares them.
    """

    metric: str
    squared: bool

    def __call__(self, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """Return the distances `[Q, G]` of rows of the table."""
        raise NotImplementedError

    @property
    def features(self) -> Features:
        """One vector a tracklet `[N, D]`, as galleries hold it."""
        raise NotImplementedError

    def rank(self, query: np.ndarray, gallery: np.ndarray, *labels: np.ndarray) -> retrieval.Ranking:
        """Rank rows of the table; `labels` are those of `retrieval.rank`."""
        return retrieval.rank(self(query, gallery), *labels)

    def rerank(self, query: np.ndarray, gallery: np.ndarray, index: np.ndarray | None) -> np.ndarray:
        """Return the distances of rows `[Q, G]`, re-ranked by k-reciprocal neighbours; holds three such tables.

        `index` are the gallery rows that the queries are, if they are in the gallery.
        """
        within = self(gallery, gallery)
        if index is not None:
            return retrieval.rerank_distances(None, None, within, query_index=index, squared=self.squared)
        return retrieval.rerank_distances(self(query, gallery), self(query, query), within, squared=self.squared)


class FeatureDistances(Distances):
    """Distances between features `[N, D]`, plain or learned.

    Plain ones are computed on all of this process's devices, and ranked there.
    """

    def __init__(self, features: Features, metric: str | LearnedMetric):
        self._features, self._metric = features, metric
        self.metric = metric if isinstance(metric, str) else type(metric).__name__.lower()
        self.squared = self.metric != "euclidean"  # the cosine distance is half the squared one of unit vectors

    def __call__(self, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """Return the distances `[Q, G]` of rows of the table."""
        if len(self._features) <= TABLE_ROWS:
            return self._table[np.ix_(query, gallery)]
        return self.between(self._features[query], self._features[gallery])

    @functools.cached_property
    def _table(self) -> np.ndarray:
        return self.between(self._features, self._features)

    @property
    def features(self) -> Features:
        """One vector a tracklet `[N, D]`."""
        return self._features

    def between(self, a: Features, b: Features) -> np.ndarray:
        """Return the distances `[len(a), len(b)]` of any features."""
        if isinstance(self._metric, LearnedMetric):
            return self._metric.distance(a, b)
        return retrieval.pairwise_distance(a, b, metric=self._metric, mesh=_own_mesh())

    def rank(self, query: np.ndarray, gallery: np.ndarray, *labels: np.ndarray) -> retrieval.Ranking:
        """Rank rows of the table; of a plain metric on the devices, without the table of distances."""
        if isinstance(self._metric, LearnedMetric):
            return super().rank(query, gallery, *labels)
        vectors = self._features[query], self._features[gallery]
        return retrieval.evaluate(*vectors, *labels, metric=self._metric, mesh=_own_mesh())

    def rerank(self, query: np.ndarray, gallery: np.ndarray, index: np.ndarray | None) -> np.ndarray:
        """Return the distances of rows `[Q, G]`, re-ranked; of Euclidean ones without the tables."""
        if self._metric != "euclidean":
            return super().rerank(query, gallery, index)
        vectors = self._features[query], self._features[gallery]
        return retrieval.rerank(*vectors, query_index=index, mesh=_own_mesh())


@functools.cache
def _own_mesh() -> Mesh | None:
    devices = jax.local_devices()
    return make_mesh(devices) if len(devices) > 1 else None


def distance_table(test: TestSet, distances: Distances, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Return the distances `[Q, G]` of chosen rows of `test.query` and `test.gallery`."""
    return distances(test.query_rows[query], test.gallery_rows[gallery])
