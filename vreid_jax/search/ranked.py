"""Search a gallery: find the nearest tracklets and decide whether they show the same person."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval.neighbours import Mask, nearest_rows
from vreid_jax.search.calibration import read_calibration
from vreid_jax.search.gallery import Gallery

OWN_THRESHOLD = "A threshold has to be measured on footage of the same cameras."
CALIBRATE = "`vreid calibrate` measures one where several people are seen at the same time."
OWN_FOOTAGE = "own footage"  # as the protocol of a calibrated gallery

Rows: TypeAlias = slice | np.ndarray
EVERY_ROW = slice(None)


@dataclasses.dataclass(frozen=True)
class Match:
    """A gallery tracklet that was found.

    Attributes:
      rank: 1 for the nearest.
      distance: from the query.
      same_person: whether the distance is within the threshold and the two were not seen at the same time; False where
        they were; None where nothing is decided: without a threshold, or within its band "perhaps".
      row: the tracklet's columns.
    """

    rank: int
    distance: float
    same_person: bool | None
    row: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Decision:
    """A threshold on the distance, with its error rates: measured when the model was evaluated, or on the gallery itself.

    On other kinds of video than those on which they were measured the rates may differ.

    Attributes:
      threshold: largest distance of the same person; of a calibrated gallery the lower end of its interval.
      false_accept_rate: share of different-person pairs within it.
      true_accept_rate: share of same-person pairs within it; None: not known.
      protocol: evaluation protocol that the pairs come from; "own footage" of a calibrated gallery.
      dataset: dataset whose test split they come from; empty in older galleries.
      perhaps: up to which distance it may be the same person; None: no further than `threshold`.
      pairs: of a calibrated gallery, pairs of its tracklets that the rate was measured on.
      interval: of a calibrated gallery, the 95 % interval of the threshold for exactly this rate.
    """

    threshold: float
    false_accept_rate: float
    true_accept_rate: float | None
    protocol: str
    dataset: str
    perhaps: float | None = None
    pairs: int = 0
    interval: tuple[float, float] | None = None

    def verdict(self, distance: float) -> bool | None:
        """Return whether a distance is that of the same person, None for perhaps."""
        if distance <= self.threshold:
            return True
        return None if self.perhaps is not None and distance <= self.perhaps else False


def check_fingerprint(gallery: Mapping[str, Any], fingerprint: str, path) -> None:
    """Raise `InputError` unless the metadata `gallery` names the model of this fingerprint; `path` is for the message."""
    if gallery["fingerprint"] != fingerprint:
        raise InputError(
            f"{path} was made by model {gallery['fingerprint']} ({gallery['model']}), the query by {fingerprint}: "
            "vectors of different models cannot be compared; embed one of the two again"
        )


def decision(about: Mapping[str, Any], false_accept_rate: float | int) -> Decision | None:
    """Return the threshold for a false-accept rate, as measured on the gallery itself, or else with the model.

    Args:
      about: metadata of the gallery.
      false_accept_rate: in (0, 1]; the largest measured rate that does not exceed it is used.

    Returns:
      The threshold, or None where the gallery has none: `undecided` says why.

    Raises:
      InputError: when every measured rate is above the one asked for, or the thresholds belong to another distance than
        the gallery's.
    """
    if not 0.0 < false_accept_rate <= 1.0:
        raise InputError(f"the false-accept rate is {false_accept_rate}; it must be a fraction in (0, 1]")
    searched = about.get("metric")
    own = read_calibration(about)
    if own is not None and own.metric == searched:
        place = own.place(false_accept_rate)
        return Decision(
            threshold=own.low[place],
            false_accept_rate=own.false_accept_rate[place],
            true_accept_rate=own.true_accept_rate[place],
            protocol=OWN_FOOTAGE,
            dataset=about.get("dataset") or "",
            perhaps=own.perhaps(place),
            pairs=own.pairs,
            interval=(own.low[place], own.high[place]),
        )
    measured = about.get("open_set")
    if not measured:
        return None
    if measured.get("metric", searched) != searched:
        raise InputError(
            f"the model's thresholds are for the {measured['metric']} distance, but the gallery is searched by the "
            f"{searched} distance: evaluate the model again with evaluation.metric={searched}, and embed again"
        )
    rows = list(zip(measured["false_accept_rate"], measured["threshold"], measured["true_accept_rate"], strict=True))
    usable = [row for row in rows if row[0] <= false_accept_rate and row[1] is not None]
    if not usable:
        known = ", ".join(f"{row[0]:g}" for row in rows if row[1] is not None)
        raise InputError(
            f"no threshold was measured for a false-accept rate of {false_accept_rate}; the measured rates are {known}"
        )
    rate, threshold, accepted = max(usable)
    return Decision(threshold, rate, accepted, measured["protocol"], about.get("dataset") or "")


def undecided(about: Mapping[str, Any]) -> str:
    """Return why nothing in a gallery is decided, only ordered; empty where it has thresholds."""
    if about.get("open_set") or about.get("calibration"):
        return ""
    elsewhere = about.get("measured_on")
    if not elsewhere:
        return "the model was not evaluated, so that no threshold is known"
    return f"the model's threshold was measured on {elsewhere} and does not hold for other footage"


def left_out(gallery: Gallery, names: list[str], cameras: np.ndarray | None, rows: Rows = EVERY_ROW) -> np.ndarray:
    """Return `[Q, n]` booleans: which of some gallery rows each query must not find.

    Args:
      gallery: N tracklets.
      names: Q `tracklet_id`s; a query does not find itself.
      cameras: `[Q]` cameras, for queries that must not find their own camera. Camera 0 is unknown, so it is never left
        out.
      rows: n of the gallery's; default: all.
    """
    both = np.concatenate([np.asarray(names), gallery.columns["tracklet_id"][rows]])
    numbers = np.unique(both, return_inverse=True)[1]  # comparing Q times n texts takes far longer
    hidden = numbers[: len(names), None] == numbers[None, len(names) :]
    if cameras is None:
        return hidden
    camids = gallery.columns["camid"][rows]
    return hidden | ((cameras[:, None] == camids[None]) & (camids[None] > 0))


def at_once(
    gallery: Gallery, times: np.ndarray, inputs: np.ndarray | None = None, rows: Rows = EVERY_ROW
) -> np.ndarray:
    """Return `[Q, n]` booleans: which of some gallery rows were seen at the same time as each query.

    One camera never sees a person in two places, so for queries from the gallery's own video these are other people.

    Args:
      gallery: N tracklets.
      times: `[Q, 2]` first and last second of each query; NaN, for anything but a video, matches nothing.
      inputs: `[Q]` texts, for a gallery of several: what each query was made from. Only tracklets of the same one match.
      rows: n of the gallery's; default: all.
    """
    start, end = gallery.columns["start_seconds"][rows], gallery.columns["end_seconds"][rows]
    together = (times[:, :1] <= end[None]) & (start[None] <= times[:, 1:])
    if inputs is None or "input" not in gallery.columns:
        return together
    return together & (inputs[:, None] == gallery.columns["input"][rows][None])


def check_cameras(camids: np.ndarray, path) -> None:
    """Raise `InputError` when no camera of a gallery is known, so other cameras cannot be searched."""
    if not (camids > 0).any():
        raise InputError(f"every camera of {path} is unknown: name the camera with --camera when you embed")


def find(
    gallery: Gallery,
    vectors: np.ndarray,
    k: int = 10,
    *,
    false_accept_rate: float | int = 0.01,
    leave_out: np.ndarray | Mask | None = None,
    apart: np.ndarray | Mask | None = None,
) -> list[list[Match]]:
    """Find the `k` nearest gallery tracklets of each query, exactly, on the device.

    Args:
      gallery: N tracklets.
      vectors: `[Q, D]` vectors of the queries.
      k: how many to find; fewer are returned when the gallery is too small.
      false_accept_rate: rate of the threshold that decides, in (0, 1].
      leave_out: `[Q, N]` booleans: gallery rows that a query must not find, such as itself or its own camera.
      apart: `[Q, N]` booleans: gallery rows that are a different person at any distance. For many queries of a large
        gallery either may be a function instead, of a slice of q queries and of n rows, a slice or an array, to `[q, n]`
        booleans: then nothing of Q times N is in memory.

    Returns:
      The matches of each query, nearest first.

    Raises:
      InputError: when the queries have another dimension than the gallery, and as `decision` does.
    """
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1")
    rule = decision(gallery.about, false_accept_rate)
    nearest = nearest_rows(
        vectors, gallery.vectors, min(k, len(gallery)), gallery.about["metric"], hidden=_mask(leave_out)
    )
    elsewhere = _mask(apart)
    found = []
    for query, (some, where) in enumerate(zip(nearest.distances, nearest.indices, strict=True)):
        real = np.isfinite(some)  # what is left out is at an infinite distance
        distances, rows = some[real].tolist(), where[real]
        others = np.zeros(len(rows), bool) if elsewhere is None else elsewhere(slice(query, query + 1), rows)[0]
        matches = []
        for rank, (distance, row, other) in enumerate(zip(distances, rows.tolist(), others.tolist(), strict=True), 1):
            same = False if other else None if rule is None else rule.verdict(distance)
            matches.append(Match(rank, distance, same, gallery.row(row)))
        found.append(matches)
    return found


def _mask(given: np.ndarray | Mask | None) -> Mask | None:
    return given if given is None or callable(given) else lambda queries, rows: np.asarray(given)[queries, rows]
