"""Open-set scores: accept or reject by a distance threshold, for pairs (verification) and searches (identification)."""

import bisect
import dataclasses

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays, matching
from vreid_jax.retrieval.arrays import ArrayLike


@dataclasses.dataclass(frozen=True)
class AcceptCurve:
    """Accept rates as functions of a threshold; an attempt is accepted if its distance is at most the threshold.

    Attributes:
      genuine: distances that should be accepted, ascending; infinite for an attempt that no threshold accepts rightly.
      impostor: distances that should be rejected, ascending.
    """

    genuine: np.ndarray
    impostor: np.ndarray

    def true_accept_rate(self, threshold: ArrayLike) -> np.ndarray | float:
        """Return the share of genuine attempts accepted at `threshold`, a number or an array of numbers."""
        share = self._share(self.genuine, threshold)
        return share if share.ndim else float(share)

    def false_accept_rate(self, threshold: ArrayLike) -> np.ndarray | float:
        """Return the share of impostor attempts accepted at `threshold`, a number or an array of numbers."""
        share = self._share(self.impostor, threshold)
        return share if share.ndim else float(share)

    def threshold_at(self, false_accept_rate: float | int) -> float:
        """Return the threshold that gives the requested false-accept rate, a fraction in [0, 1].

        It is the largest one whose rate is not above the requested one.
        """
        if not 0.0 <= false_accept_rate <= 1.0:
            raise InputError(f"A false-accept rate is a fraction in [0, 1], not {false_accept_rate}.")
        allowed = int(np.floor(false_accept_rate * len(self.impostor) * (1 + 1e-12)))
        if allowed >= len(self.impostor):
            return float(np.finfo(self.impostor.dtype).max)
        # Just below the first distance that must be rejected, in the dtype of the distances: ties are rejected together.
        return float(np.nextafter(self.impostor[allowed], self.impostor.dtype.type(-np.inf)))

    def true_accept_rate_at(self, false_accept_rate: float | int) -> float:
        """Return the true-accept rate at `threshold_at(false_accept_rate)`."""
        return float(self.true_accept_rate(self.threshold_at(false_accept_rate)))

    def roc(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return false-accept rates, true-accept rates and thresholds [n], one for each distinct genuine distance."""
        thresholds = np.unique(self.genuine[np.isfinite(self.genuine)])
        return self._share(self.impostor, thresholds), self._share(self.genuine, thresholds), thresholds

    @property
    def equal_error_rate(self) -> float:
        """The mean of the false-accept and the false-reject rate at the threshold where they differ least."""
        points: list[np.floating] = []
        for values in (self.genuine, self.impostor):
            first = bisect.bisect_left(
                range(len(values)),
                True,
                key=lambda i: self._rates(values[i])[0] >= self._rates(values[i])[1],
            )
            if first < len(values):
                points.append(values[first])
        crossing = min(points)
        below = np.nextafter(crossing, crossing.dtype.type(-np.inf))
        rates = [self._rates(threshold) for threshold in (crossing, below)]
        return float(np.mean(min(rates, key=lambda pair: abs(pair[0] - pair[1]))))

    def _rates(self, threshold: ArrayLike) -> tuple[float, float]:
        """Return the false-accept and the false-reject rate at a number."""
        return float(self._share(self.impostor, threshold)), 1.0 - float(self._share(self.genuine, threshold))

    @staticmethod
    def _share(values: np.ndarray, threshold: ArrayLike) -> np.ndarray:
        # In the dtype of the distances: rounding must not move a threshold from `threshold_at` past a distance.
        return np.asarray(np.searchsorted(values, np.asarray(threshold, values.dtype), side="right") / len(values))


def verification(
    distances: ArrayLike,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
) -> AcceptCurve:
    """Score the question "is this pair the same person?".

    Good pairs are genuine attempts, negative pairs are impostors, and ignored pairs do not count. Arguments are those of
    `rank`.

    Raises:
      InputError: for what `rank` refuses, and without a good or without a negative pair.
    """
    matrix, ids = _validated(distances, query_pids, gallery_pids, query_camids, gallery_camids)
    genuine: list[np.ndarray] = []
    impostor: list[np.ndarray] = []
    for query, good, ignored in matching.matches(*ids):
        negative = np.ones(matrix.shape[1], bool)
        negative[good] = negative[ignored] = False
        genuine.append(matrix[query, good])
        impostor.append(matrix[query, negative])
    return _accept_curve(
        np.concatenate(genuine), np.concatenate(impostor), "pair of the same person", "pair of two persons"
    )


def identification(
    distances: ArrayLike,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
) -> AcceptCurve:
    """Score the question "who is this, if anybody in the gallery?".

    Only the nearest gallery row that is not ignored counts. Queries with a good row are genuine attempts, accepted if
    the nearest row is good and near enough (`true_accept_rate` is the detection-and-identification rate); queries
    without a good row are impostors. To make a closed dataset open, leave some identities out of the gallery. Arguments
    and errors are those of `verification`.
    """
    matrix, ids = _validated(distances, query_pids, gallery_pids, query_camids, gallery_camids)
    genuine: list[np.ndarray] = []
    impostor: list[np.ndarray] = []
    for query, good, ignored in matching.matches(*ids):
        row = matrix[query].copy()
        row[ignored] = np.inf
        nearest = np.argmin(row)
        if len(good):
            genuine.append(row[nearest] if nearest in good else matrix.dtype.type(np.inf))
        else:
            impostor.append(row[nearest])
    return _accept_curve(
        np.array(genuine, matrix.dtype),
        np.array(impostor, matrix.dtype),
        "query with a match in the gallery",
        "query without a match in the gallery",
    )


def _validated(
    distances: ArrayLike,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Return the distances, and pids and camids as `matching.matches` takes them."""
    matrix = arrays.distances("distances", distances)
    num_queries, num_gallery = matrix.shape
    return matrix, (
        arrays.identities("query_pids", query_pids, num_queries),
        arrays.identities("gallery_pids", gallery_pids, num_gallery),
        arrays.identities("query_camids", query_camids, num_queries),
        arrays.identities("gallery_camids", gallery_camids, num_gallery),
    )


def _accept_curve(genuine: np.ndarray, impostor: np.ndarray, genuine_name: str, impostor_name: str) -> AcceptCurve:
    for values, name in ((genuine, genuine_name), (impostor, impostor_name)):
        if not len(values):
            raise InputError(f"Open-set rates need at least one {name}; there is none.")
    return AcceptCurve(np.sort(genuine), np.sort(impostor))
