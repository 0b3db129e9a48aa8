"""What is certain without looking: who cannot be one person, and whose times do not fit a link."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from vreid_jax.linking.sightings import Sightings, at_seam
from vreid_jax.linking.walking import Walk

OUTSIDE = -1  # of a tracklet without a cluster
ANYTHING = -math.inf  # as least seconds: a person may be in both cameras at once


@dataclasses.dataclass(frozen=True)
class Clockwork:
    """Times of N tracklets, and the seconds that must, or may, lie between two of them.

    Attributes:
      times: [N, 2] first and last second, NaN where unknown: what is unknown forbids nothing.
      cameras: [N] numbers from 0 to C - 1.
      recordings: [N] numbers; those of one camera may overlap where one goes over into the next.
      least: [C, C] seconds; two tracklets are of two people if fewer lie between them, or as few as 0 where it is 0.
      most: [C, C] seconds; no link begins between two tracklets if more lie between them.
    """

    times: np.ndarray
    cameras: np.ndarray
    recordings: np.ndarray
    least: np.ndarray
    most: np.ndarray

    def apart(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return booleans, as `one` and `other`, rows of tracklets, broadcast: whether two are certainly two people."""
        gap = self._gap(one, other)
        least = self.least[self.cameras[one], self.cameras[other]]
        too_close = (gap < least) | ((gap <= 0) & (least == 0))
        return too_close & ~at_seam(self.cameras, self.recordings, one, other)

    def fitting(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return booleans likewise: whether a link may begin between two, by the time that one needs to walk."""
        late = self._gap(one, other) > self.most[self.cameras[one], self.cameras[other]]
        return ~(late | self.apart(one, other))

    def _gap(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return the seconds between two tracklets, negative where both are seen at once."""
        return np.maximum(
            self.times[one, 0] - self.times[other, 1],
            self.times[other, 0] - self.times[one, 1],
        )


def clockwork(sightings: Sightings, *, no_overlap: bool = False, walks: Sequence[Walk] = ()) -> Clockwork:
    """Return what the times of tracklets say.

    Args:
      sightings: N tracklets.
      no_overlap: whether nobody can be in two cameras at once.
      walks: what is known of the ways between cameras; those to a camera that is not there say nothing.
    """
    cameras = sightings.cameras
    count = int(cameras.max()) + 1
    least = np.full((count, count), 0.0 if no_overlap else ANYTHING)
    np.fill_diagonal(least, 0.0)
    most = np.full((count, count), math.inf)
    number = {int(camid): int(camera) for camid, camera in zip(sightings.camids, cameras, strict=True) if camid > 0}
    for walk in walks:
        if not number.keys() >= set(walk.cameras):
            continue
        a, b = (number[camid] for camid in walk.cameras)
        if walk.min_seconds != ANYTHING:
            least[a, b] = least[b, a] = walk.min_seconds
        most[a, b] = most[b, a] = walk.max_seconds
    return Clockwork(sightings.times, cameras, sightings.recordings, least, most)


class Partition:
    """Which cluster each of N tracklets is in, and which clusters can be one person.

    A cluster is named by its first row. `labels[n]` is the number of the identity that cluster n already is, or 0; two
    clusters of different numbers are never one.
    """

    def __init__(self, clock: Clockwork, apart: Iterable[tuple[int, int]] = ()):
        count = len(clock.times)
        self._clock = clock
        self.cluster = np.arange(count)
        self.members = {row: np.array([row]) for row in range(count)}
        self.labels = np.zeros(count, np.int64)
        self._apart: dict[int, set[int]] = {}
        for one, other in apart:
            self._apart.setdefault(one, set()).add(other)
            self._apart.setdefault(other, set()).add(one)

    def compatible(self, one: int, other: int) -> bool:
        """Return whether nothing forbids that two clusters are one person."""
        if self.labels[one] and self.labels[other] and self.labels[one] != self.labels[other]:
            return False
        return self.compatible_rows(self.members[one], self.members[other])

    def compatible_rows(self, one: np.ndarray, other: np.ndarray) -> bool:
        """Return whether nothing forbids that the tracklets of two lists of rows are of one person."""
        if self._apart:
            inside = set(other.tolist())
            if any(inside & self._apart[row] for row in one.tolist() if row in self._apart):
                return False
        return not self._clock.apart(one[:, None], other[None]).any()

    def merge(self, one: int, other: int) -> int:
        """Make two clusters one, and return its name, the smaller of the two."""
        kept, gone = min(one, other), max(one, other)
        moved = self.members.pop(gone)
        self.cluster[moved] = kept
        self.members[kept] = np.concatenate([self.members[kept], moved])
        labels = [label for label in (self.labels[kept], self.labels[gone]) if label]
        self.labels[kept] = min(labels, default=0)
        return kept

    def take_out(self, row: int, cluster: int) -> None:
        """Leave a tracklet without a cluster; its own has other members."""
        self.members[cluster] = self.members[cluster][self.members[cluster] != row]
        self.cluster[row] = OUTSIDE

    def put_in(self, row: int, cluster: int) -> None:
        """Add a tracklet without a cluster to one."""
        self.members[cluster] = np.append(self.members[cluster], row)
        self.cluster[row] = cluster
