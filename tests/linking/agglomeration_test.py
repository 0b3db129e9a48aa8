"""Average linkage from sums: SciPy's clusters where nothing is forbidden, and never a forbidden pair."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist, squareform

from vreid_jax.linking.agglomeration import Centres, agglomerate
from vreid_jax.linking.constraints import Partition, clockwork
from vreid_jax.linking.neighbourhood import Neighbours, pairs_within


def clusters_of(sights, limit, radius=1e9, apart=(), most=64):
    clock = clockwork(sights)
    partition, centres = Partition(clock, apart), Centres(sights.vectors)
    pairs, _ = pairs_within(sights.vectors, radius, "sqeuclidean", clock.fitting, most=most)
    agglomerate(partition, centres, Neighbours(pairs, len(sights)), limit)
    return partition, centres


def same(labels):
    return labels[:, None] == labels[None]


@pytest.mark.parametrize("seed", range(3))
def test_without_constraints_the_clusters_are_those_of_scipy(sightings, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((60, 3)).astype(np.float32)
    squared = cdist(vectors, vectors, "sqeuclidean")
    tree = linkage(squareform(squared, checks=False), "average")
    for limit in (0.5, 1.5, 4.0):
        partition, _ = clusters_of(sightings(vectors), limit)
        np.testing.assert_array_equal(same(partition.cluster), same(fcluster(tree, limit, "distance")))


def test_the_order_of_the_tracklets_does_not_matter(sightings):
    rng = np.random.default_rng(5)
    vectors, order = rng.standard_normal((40, 4)), rng.permutation(40)
    one, _ = clusters_of(sightings(vectors), 2.0)
    other, _ = clusters_of(sightings(vectors[order]), 2.0)
    np.testing.assert_array_equal(same(one.cluster)[np.ix_(order, order)], same(other.cluster))


@pytest.mark.parametrize("seed", range(3))
def test_who_is_seen_at_once_is_never_in_one_cluster(sightings, seed):
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 40, 50)
    times, camids = np.stack([start, start + rng.uniform(0, 6, 50)], 1), rng.integers(1, 4, 50)
    sights = sightings(rng.standard_normal((50, 2)), camids, times)
    apart = [(0, 1), (2, 3), (10, 40)]
    partition, _ = clusters_of(sights, 1e6, apart=apart)
    together = same(partition.cluster) & ~np.eye(50, dtype=bool)
    at_once = (times[:, None, 0] <= times[None, :, 1]) & (times[None, :, 0] <= times[:, None, 1])
    assert not (together & at_once & (camids[:, None] == camids[None])).any()
    assert not any(together[pair] for pair in apart)
    assert len(partition.members) < 25  # something was linked


def test_mean_squared_distances_of_clusters_follow_from_their_sums():
    vectors = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    exact = cdist(vectors.astype(np.float64), vectors.astype(np.float64), "sqeuclidean")
    centres = Centres(vectors)
    for kept, gone in ((0, 1), (0, 2), (3, 4)):
        centres.merge(kept, gone)
    found = centres.squared(0, np.array([3, 5]))
    np.testing.assert_allclose(found, [exact[:3, 3:5].mean(), exact[:3, 5].mean()], rtol=1e-5)
    found = centres.squared_of_row(1, np.array([0, 3, 7]), own=0)
    np.testing.assert_allclose(found, [exact[1, [0, 2]].mean(), exact[1, 3:5].mean(), exact[1, 7]], rtol=1e-5)
    assert np.isnan(centres.squared_of_row(7, np.array([7]), own=7)[0])
    centres.take_out(2, 0)
    centres.put_in(2, 3)
    np.testing.assert_allclose(centres.squared(0, np.array([3])), [exact[:2, 2:5].mean()], rtol=1e-5)


def test_a_bridge_does_not_chain_two_people(sightings):
    line = np.array([[0.0], [0.1], [0.2], [1.0], [1.9], [2.0], [2.1]])  # 1.0 is within reach of both ends
    partition, _ = clusters_of(sightings(line), 0.9**2)
    assert not same(partition.cluster)[0, 6]
