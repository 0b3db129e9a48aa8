"""Search in a gallery: the nearest tracklets, and whether they are the same person."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from vreid_jax import retrieval
from vreid_jax.errors import InputError
from vreid_jax.search.gallery import Gallery


@dataclasses.dataclass(frozen=True)
class Match:
    """A gallery tracklet that was found: its columns, its distance, and the decision; None without calibration.

    The decision is that of the threshold, and never the same person where query and match were seen at once.
    """

    rank: int
    distance: float
    same_person: bool | None
    row: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Decision:
    """Same person if the distance is at most `threshold`; `false_accept_rate` of other persons' pairs then pass.

    So it was on the test split of `dataset`, by `protocol`; in pictures of another kind it may be off. The dataset of
    an older gallery is not known, and empty.
    """

    threshold: float
    false_accept_rate: float
    true_accept_rate: float
    protocol: str
    dataset: str


def check_fingerprint(gallery: Mapping[str, Any], fingerprint: str, path) -> None:
    """Raise `InputError` unless the gallery, by its metadata, was made by the model of this fingerprint."""
    if gallery["fingerprint"] != fingerprint:
        raise InputError(
            f"{path} was made by model {gallery['fingerprint']} ({gallery['model']}), the query by {fingerprint}: "
            "vectors of different models cannot be compared; embed one of them again"
        )


def decision(about: Mapping[str, Any], false_accept_rate: float | int) -> Decision | None:
    """The threshold for a false-accept rate in (0, 1], as measured on the test split when the model was evaluated.

    The largest rate measured that is not above the one asked for counts. None when the model was never evaluated.
    Raises `InputError` for a rate below every measured one, and for thresholds of another distance than the gallery's.
    """
    if not 0.0 < false_accept_rate <= 1.0:
        raise InputError(f"the false-accept rate is a fraction in (0, 1], not {false_accept_rate}")
    measured = about.get("open_set")
    if not measured:
        return None
    searched = about.get("metric")
    if measured.get("metric", searched) != searched:
        raise InputError(
            f"the model's thresholds are of the {measured['metric']} distance, and the gallery is searched by the "
            f"{searched} distance: evaluate the model again with evaluation.metric={searched}, and embed again"
        )
    rows = list(zip(measured["false_accept_rate"], measured["threshold"], measured["true_accept_rate"], strict=True))
    usable = [row for row in rows if row[0] <= false_accept_rate and row[1] is not None]
    if not usable:
        known = ", ".join(f"{row[0]:g}" for row in rows if row[1] is not None)
        raise InputError(f"no threshold was measured for a false-accept rate of {false_accept_rate}; there are {known}")
    rate, threshold, accepted = max(usable)
    return Decision(threshold, rate, accepted, measured["protocol"], about.get("dataset") or "")


def left_out(gallery: Gallery, names: list[str], cameras: np.ndarray | None) -> np.ndarray:
    """`[Q, N]`: rows that a query must not find: itself, by its tracklet_id, and its own camera where one is given.

    Camera 0 is an unknown one, which is nobody's own.
    """
    hidden = np.asarray(names)[:, None] == gallery.columns["tracklet_id"][None]
    if cameras is None:
        return hidden
    camids = gallery.columns["camid"]
    return hidden | ((cameras[:, None] == camids[None]) & (camids[None] > 0))


def at_once(gallery: Gallery, times: np.ndarray) -> np.ndarray:
    """`[Q, N]`: rows that were in the picture while the query was, by `times` [Q, 2], its first and last second.

    For queries of the video that the gallery is of: one camera, which sees nobody in two places. Seconds are NaN, and
    nothing is known, of anything but a video.
    """
    start, end = gallery.columns["start_seconds"], gallery.columns["end_seconds"]
    return (times[:, :1] <= end[None]) & (start[None] <= times[:, 1:])


def check_cameras(camids: np.ndarray, path) -> None:
    """Raise `InputError` where no camera of a gallery is known, so that there is no other one to look at."""
    if not (camids > 0).any():
        raise InputError(f"every camera of {path} is unknown: name it with --camera when you embed")


def find(
    gallery: Gallery,
    vectors: np.ndarray,
    k: int = 10,
    *,
    false_accept_rate: float | int = 0.01,
    leave_out: np.ndarray | None = None,
    apart: np.ndarray | None = None,
) -> list[list[Match]]:
    """The `k` nearest gallery tracklets of each query `vectors` [Q, D], near to far, exact, on the device.

    `leave_out` [Q, N] bool names gallery rows that a query must not find, e.g. itself or its own camera; fewer than
    `k` come back where the gallery is short. `apart` [Q, N] names those that are somebody else at any distance. Raises
    `InputError` for another dimension and what `decision` refuses.
    """
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1")
    rule = decision(gallery.about, false_accept_rate)
    hidden = np.zeros(len(vectors), int) if leave_out is None else leave_out.sum(1)
    depth = min(len(gallery), k + int(hidden.max(initial=0)))
    distances, rows = retrieval.top_k(vectors, gallery.vectors, depth, gallery.about["metric"])
    found = []
    for query in range(len(vectors)):
        kept = [
            (float(distance), int(row))
            for distance, row in zip(distances[query], rows[query], strict=True)
            if leave_out is None or not leave_out[query, row]
        ]
        matches = []
        for rank, (distance, row) in enumerate(kept[:k], 1):
            elsewhere = apart is not None and bool(apart[query, row])
            same = None if rule is None else distance <= rule.threshold and not elsewhere
            matches.append(Match(rank, distance, same, gallery.row(row)))
        found.append(matches)
    return found
