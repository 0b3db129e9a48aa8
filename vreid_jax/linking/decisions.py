"""Who a tracklet is once clusters are made: the doubtful are moved or left open, and every decision gets a confidence."""

import dataclasses

import numpy as np

from vreid_jax.linking.agglomeration import Centres
from vreid_jax.linking.constraints import OUTSIDE, Partition
from vreid_jax.linking.neighbourhood import Neighbours

PASSES = 3  # over all tracklets, to move those that are nearer to another cluster
TIE = 1.05  # squared distances within this factor are too alike to choose by
FARTHEST = 2.0  # times the threshold: a rival beyond it counts as that far


@dataclasses.dataclass(frozen=True)
class Near:
    """The clusters that a tracklet could be of: its own first, if it has one, then by distance."""

    own: float
    rival: int
    rival_squared: float


def settle(partition: Partition, centres: Centres, neighbours: Neighbours, fixed: np.ndarray) -> list[Near]:
    """Move tracklets to a cluster that is nearer to them than the rest of their own.

    Args:
      partition: is changed.
      centres: is changed.
      neighbours: rows that are near each other; only clusters that hold such a row are looked at.
      fixed: [N] booleans: tracklets that stay where they are.

    Returns:
      What is near each of the N tracklets after the last move.
    """
    seen: list[Near] = []
    for _ in range(PASSES):
        moved, seen = 0, []
        for row in range(len(fixed)):
            near = look(partition, centres, neighbours, row)
            seen.append(near)
            own = int(partition.cluster[row])
            if not fixed[row] and len(partition.members[own]) > 1 and near.rival_squared < near.own:
                for book in (partition, centres):
                    book.take_out(row, own)
                    book.put_in(row, near.rival)
                moved += 1
        if not moved:
            return seen
    return [look(partition, centres, neighbours, row) for row in range(len(fixed))]


def look_again(
    partition: Partition, centres: Centres, neighbours: Neighbours, seen: list[Near], open_rows: dict[int, int]
) -> list[Near]:
    """Return what is near each tracklet now that some are left open; most has not changed."""
    changed = set(open_rows.values()) | {near.rival for near in (seen[row] for row in open_rows)}
    changed |= {int(partition.cluster[row]) for row in open_rows} | {OUTSIDE}
    again = []
    for row, near in enumerate(seen):
        if not {int(partition.cluster[row]), near.rival} & changed and row not in open_rows:
            again.append(near)
        else:
            again.append(look(partition, centres, neighbours, row))
    return again


def look(partition: Partition, centres: Centres, neighbours: Neighbours, row: int) -> Near:
    """Return the squared distance of a tracklet to its own cluster, and the nearest other one that it could be of."""
    own = int(partition.cluster[row])
    clusters = np.unique(partition.cluster[neighbours.of(row)])
    clusters = clusters[(clusters != own) & (clusters != OUTSIDE)]
    mine = float("nan") if own == OUTSIDE else float(centres.squared_of_row(row, np.array([own]), own)[0])
    if not len(clusters):
        return Near(mine, OUTSIDE, float("inf"))
    squared = centres.squared_of_row(row, clusters, OUTSIDE)
    this = np.array([row])
    for place in np.argsort(squared, kind="stable"):
        if partition.compatible_rows(this, partition.members[int(clusters[place])]):
            return Near(mine, int(clusters[place]), float(squared[place]))
    return Near(mine, OUTSIDE, float("inf"))


def leave_open(
    partition: Partition, centres: Centres, seen: list[Near], fixed: np.ndarray, limit: float, perhaps: float
) -> dict[int, int]:
    """Take out what cannot be decided, and return for each such row the cluster that it may be of.

    Undecided is who is beyond `perhaps` of the rest of the own cluster, or about as near to another one; and who is alone,
    but within `perhaps` of a cluster.

    Args:
      partition: is changed.
      centres: is changed.
      seen: what is near each of the N tracklets.
      fixed: [N] booleans: tracklets that stay where they are.
      limit: largest mean squared distance of one person.
      perhaps: squared distance up to which it may be one person.
    """
    open_rows: dict[int, int] = {}
    for row in np.flatnonzero(~fixed).tolist():
        near, own = seen[row], int(partition.cluster[row])
        doubtful = near.own > perhaps or near.rival_squared <= min(limit, near.own * TIE)
        if doubtful and len(partition.members[own]) > 1:
            for book in (partition, centres):
                book.take_out(row, own)
            open_rows[row] = own if near.own <= min(near.rival_squared, perhaps) else near.rival
    founded = {cluster for cluster, rows in partition.members.items() if len(rows) > 1 or fixed[rows[0]]}
    for cluster in sorted(set(partition.members) - founded):
        (row,) = partition.members[cluster].tolist()
        if seen[row].rival in founded and seen[row].rival_squared <= perhaps:
            open_rows[row] = seen[row].rival
        else:
            founded.add(cluster)
    return open_rows


def confidence(own: float, rival: float, threshold: float) -> float:
    """Return how clearly a tracklet is of its identity and no other: its silhouette (Rousseeuw, 1987), from 0 to 1.

    Args:
      own: distance from the rest of its identity; NaN for the only one, which counts as the threshold.
      rival: distance from the nearest other identity that it could be; beyond twice the threshold it counts as that.
      threshold: largest distance of one person.
    """
    own = threshold if np.isnan(own) else own
    rival = min(rival, FARTHEST * threshold)
    return float(np.clip((rival - own) / max(rival, own, 1e-12), 0.0, 1.0))
