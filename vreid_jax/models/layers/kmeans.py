"""K-means on the host; the same points and seed give the same centres."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Float

from vreid_jax.errors import InputError


def kmeans(
    points: Float[np.ndarray, "N D"], num_clusters: int, seed: int = 0, iterations: int = 50
) -> Float[np.ndarray, "K D"]:
    """Return the centres of `points` by Lloyd's iterations from a k-means++ start, computed in float64.

    A cluster that loses all its points moves to the point farthest from its centre. It stops early when nothing moves.

    Raises:
      InputError: for fewer points than clusters.
    """
    if len(points) < num_clusters:
        raise InputError(f"k-means needs at least {num_clusters} descriptors for as many centres, got {len(points)}")
    points = points.astype(np.float64)
    centres = _spread(points, num_clusters, np.random.default_rng(seed))
    for _ in range(iterations):
        distances = _squared_distances(points, centres)
        nearest = distances.argmin(1)
        far = distances[np.arange(len(points)), nearest]
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, points)
        counts = np.bincount(nearest, minlength=num_clusters)
        moved = sums / np.maximum(counts, 1)[:, None]
        empty = np.flatnonzero(counts == 0)
        moved[empty] = points[np.argsort(-far, kind="stable")[: len(empty)]]
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres.astype(np.float32)


def of_all_processes(local: np.ndarray) -> np.ndarray:
    """Gather the rows of a whole batch, in the order that one process would have."""
    if jax.process_count() == 1:
        return local
    from jax.experimental import multihost_utils

    return np.concatenate(list(multihost_utils.process_allgather(local)))


def _spread(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Choose points as first centres, by greedy k-means++.

    Each is the best of a few, drawn with probability proportional to the squared distance from the centres so far.
    """
    chosen = [int(rng.integers(len(points)))]
    far = _squared_distances(points, points[chosen])[:, 0]
    draws = 2 + int(np.log(count))
    while len(chosen) < count:
        total = far.sum()
        rows = rng.choice(len(points), draws, p=far / total if total > 0 else None)
        left = np.minimum(far[:, None], _squared_distances(points, points[rows]))
        best = left.sum(0).argmin()
        chosen.append(int(rows[best]))
        far = left[:, best]
    return points[chosen]


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T, 0)
