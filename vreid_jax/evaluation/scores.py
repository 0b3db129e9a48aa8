"""Scores of a table of distances: each protocol, thresholds, gait twins and persons instead of tracklets."""

import numpy as np

from vreid_jax import retrieval
from vreid_jax.errors import InputError
from vreid_jax.evaluation.distances import Distances, FeatureDistances, distance_table
from vreid_jax.evaluation.test_set import TestSet, select
from vreid_jax.retrieval.distances import METRICS
from vreid_jax.retrieval.tracklet_selection import SELECTIONS

FALSE_ACCEPT_RATES = (0.0001, 0.001, 0.01, 0.05, 0.1)


def score(test: TestSet, distances: Distances, protocols, rerank: bool = False) -> dict[str, dict]:
    """Rank under every protocol and return `{protocol: summary}`, as in `results.json`.

    `distances` are between rows of `test.tracklets`; `rerank` re-ranks them by their k-reciprocal neighbours (k1 = 20,
    k2 = 6, λ = 0.3, as published), a query that is in the gallery entering once.
    """
    scores = {}
    for name in protocols:
        query, gallery = select(test, name)
        rows = test.query_rows[query], test.gallery_rows[gallery]
        labels = _labels(test, query, gallery)
        if rerank:
            index = retrieval.protocols.query_index(test.query.tracklet_ids[query], test.gallery.tracklet_ids[gallery])
            ranking = retrieval.rank(distances.rerank(*rows, index), *labels)
        else:
            ranking = distances.rank(*rows, *labels)
        scores[name] = ranking.summary()
    return scores


def open_set(test: TestSet, distances, protocol: str, rates=FALSE_ACCEPT_RATES) -> dict | None:
    """Return how well a threshold on the distance tells whether two tracklets show the same person, over all pairs.

    `threshold[i]` is the largest distance that accepts at most `false_accept_rate[i]` of the pairs of different people;
    it accepts `true_accept_rate[i]` of the pairs of one person. `metric` names the distance. If that is learned,
    `of_vectors` holds the same for the plain distance of the tracklets' vectors, in which galleries are searched.
    Returns None if the protocol has no pair of one of the two kinds.
    """
    found = _thresholds(test, distances, protocol, rates)
    if found and distances.metric not in METRICS:
        found["of_vectors"] = _thresholds(test, FeatureDistances(distances.features, METRICS[0]), protocol, rates)
    return found


def _thresholds(test: TestSet, distances, protocol: str, rates) -> dict | None:
    query, gallery = select(test, protocol)
    labels = _labels(test, query, gallery)
    try:
        curve = retrieval.verification(distance_table(test, distances, query, gallery), *labels)
    except InputError:
        return None
    thresholds = [curve.threshold_at(rate) for rate in rates]
    return {
        "protocol": protocol,
        "metric": distances.metric,
        "equal_error_rate": curve.equal_error_rate,
        "false_accept_rate": list(rates),
        "threshold": [float(threshold) for threshold in thresholds],
        "true_accept_rate": [float(curve.true_accept_rate(threshold)) for threshold in thresholds],
    }


def _labels(test: TestSet, query: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the identities and cameras of chosen rows, as `retrieval.rank` takes them."""
    return test.query.pids[query], test.gallery.pids[gallery], test.query.camids[query], test.gallery.camids[gallery]


def twin_scores(test: TestSet, distances, twins) -> dict:
    """Return rank-1 between gait twins: whether the query's own identity is nearer than its twin in another camera.

    Every query and every other camera that saw both of a pair is one comparison, so chance is one half whatever the
    cameras look like. Equal distances count half.
    """
    twin = {int(a): int(b) for pair in twins for a, b in (pair, pair[::-1])}
    right = []
    for number, (pid, camid) in enumerate(zip(test.query.pids, test.query.camids, strict=True)):
        if int(pid) not in twin:
            continue
        for other in np.unique(test.gallery.camids[test.gallery.camids != camid]):
            there = test.gallery.camids == other
            own, others = (test.gallery_rows[there & (test.gallery.pids == who)] for who in (int(pid), twin[int(pid)]))
            if len(own) and len(others):
                query = test.query_rows[number : number + 1]
                mine, theirs = distances(query, own).min(), distances(query, others).min()
                right.append(0.5 if mine == theirs else float(mine < theirs))
    return {"rank1": float(np.mean(right)) if right else float("nan"), "num_pairs": len(right)}


def parse_selection(name: str) -> tuple[str, str]:
    """Return what `PROBE/GALLERY` of `evaluation.selections` takes on either side, "random" or "all".

    Raises:
      InputError: for anything else.
    """
    probe, slash, gallery = name.partition("/")
    if not slash or {probe, gallery} - set(SELECTIONS):
        raise InputError(f"evaluation.selections names {name!r}; it is PROBE/GALLERY, each random or all")
    return probe, gallery


def selection_scores(test: TestSet, distances, selections, draws: int = 10) -> dict[str, dict]:
    """Rank persons instead of tracklets (PersonVLAD, Table II): `{"tracklets_PROBE_GALLERY": summary}`, as in `score`.

    `distances` are `FeatureDistances`. Scores are means over `draws` with the seeds 0, 1, …; all/all has one.
    """
    scores = {}
    for name in selections:
        probe, gallery = parse_selection(name)
        summaries = []
        for seed in range(draws if "random" in (probe, gallery) else 1):
            selected = retrieval.select_tracklets(
                distances.features, test.tracklets.pids, test.tracklets.camids, probe, gallery, seed, distances.between
            )
            summaries.append(retrieval.rank(*selected).summary())
        scores[f"tracklets_{probe}_{gallery}"] = retrieval.mean_std_over_splits(summaries)[0]
    return scores
