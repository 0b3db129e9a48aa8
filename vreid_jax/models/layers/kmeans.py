"""K-means on the host, and what its cells hold; the same points and seed give the same centres."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

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


def sampled_descriptors(state: Any, batches: Any, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the output `descriptors` [B, N, ...] of a network for clips of the training set, and their people [B].

    Of a batch the same positions of every clip are taken, by chance, so that there are about `most` in all: all of them may
    take more memory than the machine has.

    Args:
      state: the train state; its network's module says by `kmeans_batches` how many batches are looked at.
      batches: as `prepare` gets them.
      most: how many descriptors are kept.
    """
    count, apply = state.network.module.kmeans_batches, dict(batches.phase.apply)
    variables = jax.device_get({"params": state.params, "batch_stats": state.batch_stats})
    describe = jax.jit(lambda variables, frames: state.network(variables, frames, **apply)["descriptors"])
    found, people = [], []
    rng = np.random.default_rng(0)
    for batch in batches(count):
        descriptors = of_all_processes(np.asarray(describe(variables, batch["frames"])))
        each = max(most // (count * len(descriptors)), 1)
        if descriptors.shape[1] > each:
            descriptors = descriptors[:, rng.choice(descriptors.shape[1], each, replace=False)]
        found.append(descriptors)
        people.append(of_all_processes(np.asarray(batch["label"])))
    return np.concatenate(found), np.concatenate(people)


def cell_statistics(
    descriptors: Float[np.ndarray, "B N D"], people: Int[np.ndarray, " B"], centres: Float[np.ndarray, "K D"]
) -> dict[str, float]:
    """Return what the cells of the nearest centres hold of the descriptors of B clips, as shares but for the second.

    `cells_used`: of the cells that are not empty. `descriptors_per_cell`: the mean number of a clip's descriptors in a
    cell that has any, which is the number of terms of a VLAD sum. `same_person_same_cell`: of the pairs of descriptors
    of two clips of one person that share a cell. `others_same_cell`: of those of two people; cells tell people apart as
    far as it is the smaller. NaN where there is no such pair. People below 0 are unknown.
    """
    flat = descriptors.reshape(-1, descriptors.shape[-1]).astype(np.float64)
    nearest = _squared_distances(flat, centres.astype(np.float64)).argmin(1).reshape(descriptors.shape[:2])
    counts = np.stack([np.bincount(row, minlength=len(centres)) for row in nearest]).astype(np.float64)
    known = counts[people >= 0]
    _, who = np.unique(people[people >= 0], return_inverse=True)
    of_person = np.zeros((who.max(initial=-1) + 1, len(centres)))
    np.add.at(of_person, who, known)

    def pairs(whole: np.ndarray, parts: np.ndarray) -> float:
        """Share of the pairs of two parts in one cell."""
        together = np.square(whole).sum() - np.square(parts).sum()
        all_pairs = np.square(whole.sum(-1)).sum() - np.square(parts.sum(-1)).sum()
        return float(together / all_pairs) if all_pairs else float("nan")

    return {
        "cells_used": float((counts.sum(0) > 0).mean()),
        "descriptors_per_cell": float(counts.sum() / np.count_nonzero(counts)),
        "same_person_same_cell": pairs(of_person, known),
        "others_same_cell": pairs(known.sum(0, keepdims=True), of_person),
    }


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
