"""Identity-level search: one or all tracklets of a person as probe and as gallery entry (PersonVLAD)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays, matching
from vreid_jax.retrieval.arrays import ArrayLike
from vreid_jax.retrieval.distances import pairwise_distance

SELECTIONS = ("random", "all")

OWN_CAMERA, OTHER_CAMERA = 1, 2
_ROWS_AT_ONCE = 256


class SelectedDistances(NamedTuple):
    """Distances of P probes to E gallery entries, with the other arguments of `rank`: call `rank(*selected)`.

    The cameras are not real ones; they only mark what counts. A probe whose person no other camera saw gets the
    gallery's camera, so that its own entry is ignored and the probe is not valid.

    Attributes:
      distances: [P, E].
      query_pids: [P].
      gallery_pids: [E].
      query_camids: [P].
      gallery_camids: [E].
    """

    distances: np.ndarray
    query_pids: np.ndarray
    gallery_pids: np.ndarray
    query_camids: np.ndarray
    gallery_camids: np.ndarray


def select_tracklets(
    features: ArrayLike,
    pids: ArrayLike,
    camids: ArrayLike,
    probe: str = "random",
    gallery: str = "all",
    seed: int = 0,
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray] = pairwise_distance,
) -> SelectedDistances:
    """Compute distances between persons from the distinct tracklets of a test set (PersonVLAD, Table II).

    A probe is a person in a camera, a gallery entry is a person. When a probe is compared with its own person, the
    tracklets of its camera are left out of the gallery entry. Each distractor is an entry of its own; junk is left out.
    The published numbers average ten draws: `[rank(*select_tracklets(…, seed=s)).summary() for s in range(10)]`, then
    `mean_std_over_splits`.

    Args:
      features: [N, D] of the tracklets.
      pids: [N] identities.
      camids: [N] cameras.
      probe: "random" represents a probe by one tracklet, "all" by the mean of all.
      gallery: likewise for gallery entries.
      seed: of the random choices.
      distance: a function of [P, D] and [E, D] features that returns distances [P, E].

    Raises:
      InputError: for an unknown selection, and if no tracklet has a person's identity.
    """
    for name, value in (("probe", probe), ("gallery", gallery)):
        if value not in SELECTIONS:
            raise InputError(f"select_tracklets: {name} must be one of {SELECTIONS}, not {value!r}.")
    table = arrays.features("features", features)
    identities = arrays.identities("pids", pids, len(table))
    cameras = arrays.identities("camids", camids, len(table))
    generator = np.random.default_rng(seed)

    def vector(rows: np.ndarray, selection: str) -> np.ndarray:
        if selection == "random":
            return table[generator.choice(rows)]
        return table[rows].mean(axis=0, dtype=np.float64).astype(np.float32)

    persons = np.unique(identities[identities > matching.DISTRACTOR])
    if not len(persons):
        raise InputError("select_tracklets: no tracklet has a person's identity (pid above 0).")
    distractors = np.flatnonzero(identities == matching.DISTRACTOR)
    entries: list[np.ndarray] = []
    probes: list[np.ndarray] = []
    own_entries: list[np.ndarray] = []  # of each probe's person, as that probe meets it
    probe_persons: list[int] = []
    seen_elsewhere: list[bool] = []
    for number, pid in enumerate(persons):
        rows = np.flatnonzero(identities == pid)
        entries.append(vector(rows, gallery))
        for camera in np.unique(cameras[rows]):
            inside = cameras[rows] == camera
            probes.append(vector(rows[inside], probe))
            own_entries.append(vector(rows if inside.all() else rows[~inside], gallery))
            probe_persons.append(number)
            seen_elsewhere.append(not bool(inside.all()))
    probe_rows, own_rows, columns = np.stack(probes), np.stack(own_entries), np.array(probe_persons)

    distances = np.array(distance(probe_rows, np.concatenate([np.stack(entries), table[distractors]])))
    for top in range(0, len(probe_rows), _ROWS_AT_ONCE):
        part = slice(top, top + _ROWS_AT_ONCE)
        rows = np.arange(top, top + len(probe_rows[part]))
        distances[rows, columns[part]] = np.diagonal(distance(probe_rows[part], own_rows[part]))
    num_entries = distances.shape[1]
    return SelectedDistances(
        distances,
        persons[columns],
        np.concatenate([persons, np.full(len(distractors), matching.DISTRACTOR)]),
        np.where(seen_elsewhere, OTHER_CAMERA, OWN_CAMERA),
        np.full(num_entries, OWN_CAMERA),
    )
