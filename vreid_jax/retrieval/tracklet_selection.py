"""Identity-level search: one or all tracklets of a person, on the probe's and on the gallery's side (PersonVLAD)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays, matching
from vreid_jax.retrieval.distances import pairwise_distance

SELECTIONS = ("random", "all")

OWN_CAMERA, OTHER_CAMERA = 1, 2
_ROWS_AT_ONCE = 256


class SelectedDistances(NamedTuple):
    """What `rank(*selected)` takes: P probes against E gallery entries.

    Camera ids only say what counts: a probe whose person no other camera saw is of the gallery's camera, so that its
    own entry is ignored and it is not valid.
    """

    distances: np.ndarray
    query_pids: np.ndarray
    gallery_pids: np.ndarray
    query_camids: np.ndarray
    gallery_camids: np.ndarray


def select_tracklets(
    features,
    pids,
    camids,
    probe: str = "random",
    gallery: str = "all",
    seed: int = 0,
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray] = pairwise_distance,
) -> SelectedDistances:
    """Distances between persons, from the distinct tracklets `features` [N, D] of a test set (PersonVLAD, Table II).

    A probe is a person in a camera, a gallery entry a person; each is one "random" tracklet (drawn from `seed`) or the
    mean of "all". In a probe's comparison with its own person, tracklets of its own camera are left out on the
    gallery's side. Each distractor is an entry of its own, junk is left out. `distance(a, b)` is any [P, E] metric.
    The published numbers average ten draws: `[rank(*select_tracklets(…, seed=s)).summary() for s in range(10)]`, then
    `mean_std_over_splits`. Raises `InputError` for an unknown selection, or if there is no person.
    """
    for name, value in (("probe", probe), ("gallery", gallery)):
        if value not in SELECTIONS:
            raise InputError(f"select_tracklets: {name} must be one of {SELECTIONS}, not {value!r}.")
    features = arrays.features("features", features)
    pids = arrays.identities("pids", pids, len(features))
    camids = arrays.identities("camids", camids, len(features))
    generator = np.random.default_rng(seed)

    def vector(rows: np.ndarray, selection: str) -> np.ndarray:
        if selection == "random":
            return features[generator.choice(rows)]
        return features[rows].mean(axis=0, dtype=np.float64).astype(np.float32)

    persons = np.unique(pids[pids > matching.DISTRACTOR])
    if not len(persons):
        raise InputError("select_tracklets: no tracklet has a person's identity (pid above 0).")
    distractors = np.flatnonzero(pids == matching.DISTRACTOR)
    entries, probes, own, probe_persons, seen_elsewhere = [], [], [], [], []
    for number, pid in enumerate(persons):
        rows = np.flatnonzero(pids == pid)
        entries.append(vector(rows, gallery))
        for camera in np.unique(camids[rows]):
            inside = camids[rows] == camera
            probes.append(vector(rows[inside], probe))
            own.append(vector(rows if inside.all() else rows[~inside], gallery))
            probe_persons.append(number)
            seen_elsewhere.append(not inside.all())
    probes, own, probe_persons = np.stack(probes), np.stack(own), np.array(probe_persons)

    table = np.array(distance(probes, np.concatenate([np.stack(entries), features[distractors]])))
    for top in range(0, len(probes), _ROWS_AT_ONCE):
        part = slice(top, top + _ROWS_AT_ONCE)
        count = len(probes[part])
        table[np.arange(top, top + count), probe_persons[part]] = np.diagonal(distance(probes[part], own[part]))
    num_entries = table.shape[1]
    return SelectedDistances(
        table,
        persons[probe_persons],
        np.concatenate([persons, np.full(len(distractors), matching.DISTRACTOR)]),
        np.where(seen_elsewhere, OTHER_CAMERA, OWN_CAMERA),
        np.full(num_entries, OWN_CAMERA),
    )
