"""Open set: accept or reject by a threshold on the distance, for pairs (verification) and searches (identification)."""

import bisect
import dataclasses

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays, matching


@dataclasses.dataclass(frozen=True)
class AcceptCurve:
    """What is accepted at which threshold; accepted is what has a distance ≤ threshold.

    `genuine` are the distances that should be accepted, `impostor` those that should not, both ascending; a genuine
    attempt that can never succeed is infinite.
    """

    genuine: np.ndarray
    impostor: np.ndarray

    def true_accept_rate(self, threshold) -> np.ndarray | float:
        """Share of genuine attempts accepted at `threshold`, a number or an array of them."""
        return self._share(self.genuine, threshold)

    def false_accept_rate(self, threshold) -> np.ndarray | float:
        """Share of impostor attempts accepted at `threshold`, a number or an array of them."""
        return self._share(self.impostor, threshold)

    def threshold_at(self, false_accept_rate: float | int) -> float:
        """The largest threshold whose false-accept rate is at most the one given, a fraction in [0, 1]."""
        if not 0.0 <= false_accept_rate <= 1.0:
            raise InputError(f"A false-accept rate is a fraction in [0, 1], not {false_accept_rate}.")
        allowed = int(np.floor(false_accept_rate * len(self.impostor) * (1 + 1e-12)))
        if allowed >= len(self.impostor):
            return float(np.finfo(self.impostor.dtype).max)
        # Just below the first that must be rejected, in the dtype of the distances: ties are rejected together.
        return float(np.nextafter(self.impostor[allowed], self.impostor.dtype.type(-np.inf)))

    def true_accept_rate_at(self, false_accept_rate: float | int) -> float:
        """True-accept rate at `threshold_at(false_accept_rate)`."""
        return float(self.true_accept_rate(self.threshold_at(false_accept_rate)))

    def roc(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """False-accept rates, true-accept rates and thresholds [n]: the corners of the curve, one per genuine distance."""
        thresholds = np.unique(self.genuine[np.isfinite(self.genuine)])
        return self.false_accept_rate(thresholds), self.true_accept_rate(thresholds), thresholds

    @property
    def equal_error_rate(self) -> float:
        """Where false-accept and false-reject rate meet: their mean at the threshold where they differ least."""
        points = []
        for values in (self.genuine, self.impostor):
            first = bisect.bisect_left(
                range(len(values)),
                True,
                key=lambda i: self.false_accept_rate(values[i]) >= 1.0 - self.true_accept_rate(values[i]),
            )
            if first < len(values):
                points.append(values[first])
        crossing = min(points)
        below = np.nextafter(crossing, crossing.dtype.type(-np.inf))
        rates = [(self.false_accept_rate(t), 1.0 - self.true_accept_rate(t)) for t in (crossing, below)]
        return float(np.mean(min(rates, key=lambda pair: abs(pair[0] - pair[1]))))

    @staticmethod
    def _share(values: np.ndarray, threshold):
        # In the dtype of the distances: a threshold from `threshold_at` must not be rounded to another side.
        return np.searchsorted(values, np.asarray(threshold, values.dtype), side="right") / len(values)


def verification(distances, query_pids, gallery_pids, query_camids, gallery_camids) -> AcceptCurve:
    """Is this pair the same person? Every good pair is genuine, every negative pair an impostor; ignored ones are not.

    Arguments as for `rank`. Raises `InputError` for what `rank` refuses and if there is no pair of one of the kinds.
    """
    distances, table = _checked(distances, query_pids, gallery_pids, query_camids, gallery_camids)
    genuine, impostor = [], []
    for query, good, ignored in matching.matches(*table):
        negative = np.ones(distances.shape[1], bool)
        negative[good] = negative[ignored] = False
        genuine.append(distances[query, good])
        impostor.append(distances[query, negative])
    return _curve(np.concatenate(genuine), np.concatenate(impostor), "pair of the same person", "pair of two persons")


def identification(distances, query_pids, gallery_pids, query_camids, gallery_camids) -> AcceptCurve:
    """Who is this, or is it nobody known? Looks at the nearest gallery row of each query that is not ignored.

    Queries with a good row are genuine attempts, accepted if the nearest row is one of them and near enough
    (`true_accept_rate` is the detection-and-identification rate); queries without are impostors. To make a closed
    dataset open, leave some identities out of the gallery. Arguments and errors as for `verification`.
    """
    distances, table = _checked(distances, query_pids, gallery_pids, query_camids, gallery_camids)
    genuine, impostor = [], []
    for query, good, ignored in matching.matches(*table):
        row = distances[query].copy()
        row[ignored] = np.inf
        nearest = np.argmin(row)
        if len(good):
            genuine.append(row[nearest] if nearest in good else distances.dtype.type(np.inf))
        else:
            impostor.append(row[nearest])
    return _curve(
        np.array(genuine, distances.dtype),
        np.array(impostor, distances.dtype),
        "query with a match in the gallery",
        "query without a match in the gallery",
    )


def _checked(distances, query_pids, gallery_pids, query_camids, gallery_camids):
    distances = arrays.distances("distances", distances)
    num_queries, num_gallery = distances.shape
    return distances, (
        arrays.identities("query_pids", query_pids, num_queries),
        arrays.identities("gallery_pids", gallery_pids, num_gallery),
        arrays.identities("query_camids", query_camids, num_queries),
        arrays.identities("gallery_camids", gallery_camids, num_gallery),
    )


def _curve(genuine: np.ndarray, impostor: np.ndarray, genuine_name: str, impostor_name: str) -> AcceptCurve:
    for values, name in ((genuine, genuine_name), (impostor, impostor_name)):
        if not len(values):
            raise InputError(f"Open-set rates need at least one {name}; there is none.")
    return AcceptCurve(np.sort(genuine), np.sort(impostor))
