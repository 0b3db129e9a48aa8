"""Who is whom, by the model's own distances: links that are safe by what the footage says for certain."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

LEAST_PAIRS = 8  # certainly different ones, to measure how often a link would be false
SAME = 0.98  # share of the pairs of halves of a track that are nearer than people who count as different


@dataclasses.dataclass(frozen=True)
class Relations:
    """What is believed of N tracks.

    Attributes:
      identities: [N] a number for each person, from 0.
      different: [N, N] pairs of two people: certain ones, and those that are too far apart to be one.
      threshold: the distance up to which tracks were linked.
    """

    identities: Int[np.ndarray, " N"]
    different: Bool[np.ndarray, "N N"]
    threshold: float

    @property
    def people(self) -> int:
        """Number of people."""
        return len(np.unique(self.identities))

    def of(self, rows: Int[np.ndarray, " M"]) -> "Relations":
        """Return what is believed of some of the tracks."""
        return Relations(self.identities[rows], self.different[np.ix_(rows, rows)], self.threshold)


def relate(
    distances: Float[np.ndarray, "N N"],
    halves: Float[np.ndarray, " N"],
    together: Bool[np.ndarray, "N N"],
    false_links: float,
) -> Relations:
    """Link tracks that are surely of one person, and separate those that are surely of two.

    Two distances are measured on the footage itself: between the halves of a track, which are of one person, and
    between tracks seen at the same time, which are of two. Tracks are linked up to the distance below which at most
    `false_links` of the certainly different pairs lie, and half of the halves do, whichever is smaller. Linking is
    agglomerative with complete linkage: any two tracks of a person are that near, and never seen together. Tracks count
    as different that are farther apart than half of the certainly different pairs and nearly all halves.

    Args:
      distances: [N, N] between tracks, symmetric.
      halves: [N] between the halves of each track.
      together: [N, N] tracks seen at the same time.
      false_links: a share, from 0 to 1.
    """
    apart = distances[np.triu(together)]
    near, far = float(np.median(halves)), float(np.quantile(halves, SAME))
    if len(apart) >= LEAST_PAIRS:
        near = min(near, float(np.quantile(apart, false_links)))
        far = max(far, float(np.median(apart)))
    identities = link(distances, together, near)
    different = (together | (distances > far)) & (identities[:, None] != identities[None])
    return Relations(identities, different, near)


def link(
    distances: Float[np.ndarray, "N N"], never: Bool[np.ndarray, "N N"], threshold: float
) -> Int[np.ndarray, " N"]:
    """Cluster with complete linkage: [N] numbers from 0, in the order of the first member.

    Any two members of a cluster are at most `threshold` apart and not a pair of `never`.
    """
    if len(distances) < 2:
        return np.zeros(len(distances), np.int64)
    symmetric = np.maximum(distances, distances.T).astype(np.float64)
    symmetric[never | never.T] = np.inf
    largest = max(float(np.max(symmetric, where=np.isfinite(symmetric), initial=0.0)), abs(threshold), 1.0)
    symmetric = np.where(np.isfinite(symmetric), np.maximum(symmetric, 0.0), 4 * largest)
    np.fill_diagonal(symmetric, 0.0)
    clusters = fcluster(linkage(squareform(symmetric, checks=False), "complete"), threshold, "distance")
    _, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return order[inverse.reshape(-1)]
