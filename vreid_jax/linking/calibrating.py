"""A threshold from one's own footage, without labels: how near tracklets of two people come.

Tracklets that one camera sees at the same time are of two people. The share of such pairs within a distance estimates the
false-accept rate at it. Pairs share tracklets, so they are not independent: its interval comes from drawing tracklets, not
pairs, anew (the bootstrap of vertices: Snijders and Borgatti, Connections 1999).
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.linking.distances import from_squared, pair_distances
from vreid_jax.linking.sightings import Sightings, at_seam
from vreid_jax.search.calibration import Calibration

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
RULE_OF_THREE = 3  # with n pairs and none accepted, a rate below 3 / n is shown at 95 % confidence, not a lower one
HIGHEST_ADVISED = 0.05  # a threshold that lets more pairs of two people pass is of no use
LEAST_TRACKLETS = 6
LEAST_PAIRS = 20  # for a threshold whose rate they need not show
MOST_PAIRS = 200_000
DRAWS = 500
CONFIDENCE = 0.95


def simultaneous_pairs(times: np.ndarray, cameras: np.ndarray, most: int = MOST_PAIRS) -> np.ndarray:
    """Return [E, 2] int64 pairs of tracklets that one camera saw at the same time, each once, the smaller row first.

    Args:
      times: [N, 2] first and last second, NaN where unknown.
      cameras: [N] numbers.
      most: if there are more pairs, so many of them, drawn with a fixed seed.
    """
    firsts, counts, orders, total = [], [], [], 0
    known = ~np.isnan(times).any(1)
    for camera in np.unique(cameras[known]):
        rows = np.flatnonzero(known & (cameras == camera))
        order = rows[np.argsort(times[rows, 0], kind="stable")]
        behind = np.searchsorted(times[order, 0], times[order, 1], side="right")
        counts.append(np.maximum(behind - np.arange(len(order)) - 1, 0))
        firsts.append(np.arange(len(order)) + total)
        orders.append(order)
        total += len(order)
    if not orders:
        return np.empty((0, 2), np.int64)
    order, count, first = (np.concatenate(parts) for parts in (orders, counts, firsts))
    ends = np.cumsum(count)
    if ends[-1] > most:
        chosen = np.sort(np.random.default_rng(0).choice(ends[-1], most, replace=False))
    else:
        chosen = np.arange(ends[-1])
    place = np.searchsorted(ends, chosen, side="right")
    other = first[place] + 1 + chosen - (ends[place] - count[place])
    return np.sort(np.stack([order[place], order[other]], 1), axis=1)


def measure(
    sightings: Sightings, rate: float | None = None, *, no_overlap: bool = False, shown: bool = True
) -> Calibration:
    """Measure thresholds on the tracklets of one or several galleries.

    Args:
      sightings: the tracklets.
      rate: a false-accept rate that is wanted besides `RATES`, in (0, 0.5].
      no_overlap: whether nobody can be in two cameras at once, so that pairs of two cameras count as well.
      shown: whether every rate has to be one that so many pairs can show, at least three of which it lets pass. Else the
        wanted rate may be lower; with few pairs its threshold is then just below the nearest of them.

    Raises:
      InputError: when there are too few pairs for the rate, or without one for any of `RATES`.
    """
    if rate is not None and not 0 < rate <= RATES[-1]:
        raise InputError(f"the false-accept rate is {rate:g}; it must be above 0 and at most {RATES[-1]}")
    cameras = np.zeros_like(sightings.cameras) if no_overlap else sightings.cameras
    pairs = simultaneous_pairs(sightings.times, cameras)
    pairs = pairs[~at_seam(sightings.cameras, sightings.recordings, *pairs.T)]
    tracklets = len(np.unique(pairs))
    smallest = RULE_OF_THREE / max(len(pairs), 1)
    usable = sorted(each for each in {*RATES, rate} if each and (each >= smallest * (1 - 1e-9)))
    if not shown and rate is not None and len(pairs) >= LEAST_PAIRS:
        usable = sorted({*usable, rate})
    if tracklets < LEAST_TRACKLETS or not usable or (rate is not None and rate not in usable):
        raise InputError(_too_few(sightings, len(pairs), tracklets, rate, shown))
    distances = pair_distances(sightings.vectors, pairs, sightings.metric)
    order = np.argsort(distances, kind="stable")
    pairs, distances = pairs[order], distances[order]
    threshold = thresholds(distances, np.ones(len(pairs)), usable)
    low, high = _interval(distances, pairs, usable)
    return Calibration(
        false_accept_rate=tuple(usable),
        threshold=tuple(threshold.tolist()),
        low=tuple(np.minimum(low, threshold).tolist()),
        high=tuple(np.maximum(high, threshold).tolist()),
        true_accept_rate=(None,) * len(usable),
        metric=sightings.metric,
        pairs=len(pairs),
        tracklets=tracklets,
    )


def _too_few(sightings: Sightings, pairs: int, tracklets: int, rate: float | None, shown: bool) -> str:
    """Return the sentence that says how many pairs there are and how many it takes."""
    names = ", ".join(str(path) for path in sightings.paths)
    wanted = f"a false-accept rate of {rate:g}" if rate is not None and shown else "a threshold"
    least = math.ceil(RULE_OF_THREE / (rate or RATES[-1]) - 1e-9) if shown else LEAST_PAIRS
    lowest = math.ceil(1000 * RULE_OF_THREE / max(pairs, 1)) / 1000
    instead = shown and rate is not None and rate < lowest <= HIGHEST_ADVISED
    has = "has" if len(sightings.paths) == 1 else "have"
    return (
        f"{names} {has} {pairs} pair{'' if pairs == 1 else 's'} of tracklets seen at the same time, of {tracklets} tracklets; {wanted} takes at least "
        f"{least} pairs and {LEAST_TRACKLETS} tracklets"
        + (
            f": film for longer, or ask for --false-accept-rate={lowest:g} or more"
            if instead
            else "; there is too little footage: film for longer"
        )
    )


def thresholds(distances: np.ndarray, weights: np.ndarray, rates: Sequence[float]) -> np.ndarray:
    """Return [R] the largest distance at which no more than each rate of the weight lies.

    Args:
      distances: [E] ascending.
      weights: [E], not negative, of a positive sum.
      rates: in (0, 1).
    """
    share = np.cumsum(weights) / weights.sum()
    # The first pair that must be rejected; the tolerance is for the rounding of sums.
    place = np.searchsorted(share, np.asarray(rates) * (1 + 1e-9), side="right")
    return np.nextafter(distances[np.minimum(place, len(distances) - 1)], -np.inf)


def _interval(distances: np.ndarray, pairs: np.ndarray, rates: Sequence[float]) -> np.ndarray:
    """Return [2, R] the ends of the interval of every threshold, from tracklets drawn with replacement."""
    rows, number = np.unique(pairs, return_inverse=True)
    one, other = number.reshape(-1, 2).T
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        times = np.bincount(rng.integers(0, len(rows), len(rows)), minlength=len(rows)).astype(np.float64)
        weights = times[one] * times[other]
        if weights.any():
            drawn.append(thresholds(distances, weights, rates))
    return np.quantile(np.array(drawn), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)


def with_true_accepts(calibration: Calibration, pieces: np.ndarray) -> Calibration:
    """Return a calibration with the share of same-person pairs within each `low`, estimated from pieces of tracklets.

    Pieces of one tracklet are too alike: they share the light, the place and much of the pose. Two corrections make up
    for it. Only the first and the last piece of a tracklet are compared, of which each has a fourth of the frames. And the
    drift, by which these differ more than pieces that follow each other, is added once more, as squared distance.

    Args:
      calibration: of the gallery.
      pieces: [T, P, D] vectors of P >= 3 pieces of T tracklets in order, of unit length for "cosine".
    """
    steps = np.square(pieces[:, 1:].astype(np.float64) - pieces[:, :-1]).sum(2).mean(1)
    ends = np.square(pieces[:, -1].astype(np.float64) - pieces[:, 0]).sum(1)
    drift = max(float(ends.mean() - steps.mean()), 0.0)
    distances = np.sort(from_squared(ends + drift, calibration.metric))
    shares = np.searchsorted(distances, calibration.low, side="right") / len(distances)
    return dataclasses.replace(calibration, true_accept_rate=tuple(shares.tolist()), pieces=len(pieces), drift=drift)
