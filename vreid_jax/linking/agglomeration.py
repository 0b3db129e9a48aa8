"""Average linkage under constraints: clusters whose mean distance is smallest are joined first, if they can be one person.

The mean squared distance between the members of two clusters follows from the clusters' sums alone (Ward, 1963, and
Lance and Williams, 1967, use the same identity), so that no matrix of distances is needed: memory is that of the vectors
and of the pairs of near tracklets, between which links begin.
"""

import heapq
import itertools
from collections.abc import Callable

import numpy as np

from vreid_jax.linking.constraints import Partition
from vreid_jax.linking.neighbourhood import Neighbours


class Centres:
    """Sums over the members of clusters of unit vectors or of any others, to measure mean squared distances.

    Args:
      vectors: [N, D] float32, which stay as they are.
    """

    def __init__(self, vectors: np.ndarray):
        self._vectors = vectors
        self._sums = vectors.copy()
        self._squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
        self._own = self._squares.copy()
        self._sizes = np.ones(len(vectors))

    def squared(self, cluster: int, others: np.ndarray) -> np.ndarray:
        """Return [n] the mean squared distances between the members of a cluster and those of others."""
        products = self._sums[others] @ self._sums[cluster]
        sizes = self._sizes[others]
        means = self._squares[others] / sizes + self._squares[cluster] / self._sizes[cluster]
        return np.maximum(means - 2.0 * products / (sizes * self._sizes[cluster]), 0.0)

    def squared_of_row(self, row: int, clusters: np.ndarray, own: int) -> np.ndarray:
        """Return [n] the mean squared distances of one tracklet to clusters, in `own` to the other members; NaN: none."""
        mine = (clusters == own).astype(np.float64)
        sizes = self._sizes[clusters] - mine
        vector = self._vectors[row]
        products = self._sums[clusters] @ vector - mine * self._own[row]
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (self._squares[clusters] - mine * self._own[row]) / sizes + self._own[row] - 2.0 * products / sizes
        return np.where(sizes > 0, np.maximum(means, 0.0), np.nan)

    def merge(self, kept: int, gone: int) -> None:
        """Add the members of one cluster to another."""
        self._sums[kept] += self._sums[gone]
        self._squares[kept] += self._squares[gone]
        self._sizes[kept] += self._sizes[gone]

    def take_out(self, row: int, cluster: int) -> None:
        """Take a tracklet out of a cluster."""
        self._add(row, cluster, -1.0)

    def put_in(self, row: int, cluster: int) -> None:
        """Put a tracklet into a cluster."""
        self._add(row, cluster, 1.0)

    def _add(self, row: int, cluster: int, sign: float) -> None:
        self._sums[cluster] += np.float32(sign) * self._vectors[row]
        self._squares[cluster] += sign * self._own[row]
        self._sizes[cluster] += sign


def agglomerate(
    partition: Partition,
    centres: Centres,
    neighbours: Neighbours,
    limit: float,
    tell: Callable[[int], object] = lambda merges: None,
) -> None:
    """Join clusters, the nearest two that can be one person first, while their mean squared distance is within `limit`.

    Only clusters between which at least one pair of neighbours lies are looked at. Equal distances are joined in the
    order of rows. Mean distances never shrink by a merge, and what is forbidden stays so: the distance at which a cluster
    was last seen to have its nearest is a lower bound, which is looked at again when it comes to the top.

    Args:
      partition: clusters to begin with, which is changed.
      centres: of the same clusters, which is changed.
      neighbours: rows that are near each other.
      limit: largest mean squared distance.
      tell: is called with the number of merges after each.
    """
    around = {cluster: _around(partition, neighbours, cluster) for cluster in sorted(partition.members)}
    heap: list[tuple[float, int, int, int]] = []
    asked, changed = dict.fromkeys(around, 0), dict.fromkeys(around, 0)  # when, on a clock that every question advances
    now = itertools.count(1)

    def push(cluster: int) -> None:
        """Ask for the nearest cluster that this one can be, and put the answer on the heap."""
        asked[cluster] = next(now)
        others = np.unique(partition.cluster[around[cluster]])
        others = around[cluster] = others[others != cluster]
        if not len(others):
            return
        distances = centres.squared(cluster, others)
        for place in np.argsort(distances, kind="stable"):
            if not distances[place] <= limit:
                return
            if partition.compatible(cluster, int(others[place])):
                heapq.heappush(heap, (float(distances[place]), cluster, int(others[place]), asked[cluster]))
                return

    for cluster in list(around):
        push(cluster)
    merges = 0
    while heap:
        _, cluster, other, when = heapq.heappop(heap)
        if cluster not in around or when != asked[cluster]:
            continue
        if other not in around or changed[other] > when:
            push(cluster)
            continue
        kept = partition.merge(cluster, other)
        gone = other if kept == cluster else cluster
        centres.merge(kept, gone)
        around[kept] = np.concatenate([around.pop(kept), around.pop(gone)])
        changed[kept] = next(now)
        push(kept)
        merges += 1
        tell(merges)


def _around(partition: Partition, neighbours: Neighbours, cluster: int) -> np.ndarray:
    return np.concatenate([neighbours.of(row) for row in partition.members[cluster].tolist()])
