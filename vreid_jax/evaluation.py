"""From features to scores: the test set, each protocol over one table of features, thresholds and gait twins."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from vreid_jax import data, retrieval
from vreid_jax.errors import InputError
from vreid_jax.extraction import Features
from vreid_jax.retrieval.distances import METRICS
from vreid_jax.retrieval.learned_metric import LearnedMetric
from vreid_jax.training.step import make_mesh

FALSE_ACCEPT_RATES = (0.0001, 0.001, 0.01, 0.05, 0.1)


@dataclasses.dataclass(frozen=True)
class TestSet:
    """The distinct tracklets of query and gallery, without junk, and where each set finds its own among them."""

    __test__ = False  # no test case, whatever its name says

    tracklets: data.JoinedSource
    query: data.TrackletSource
    gallery: data.TrackletSource
    query_rows: np.ndarray
    gallery_rows: np.ndarray


def make_test_set(query: data.TrackletSource, gallery: data.TrackletSource) -> TestSet:
    """Join the two splits; a tracklet that is in both is embedded once, junk (pid -1) not at all.

    Raises:
      InputError: when there is nothing to ask or nothing to find.
    """
    for split in (query, gallery):
        if not len(split):
            raise InputError(f"the split {split.split} is empty, so there is nothing to rank")
    rows, query_rows, gallery_rows = retrieval.protocols.distinct_tracklets(query.tracklet_ids, gallery.tracklet_ids)
    pids = np.concatenate([query.pids, gallery.pids])[rows]
    kept = pids != -1
    number = np.where(kept, np.cumsum(kept) - 1, -1)
    joined = data.JoinedSource((query, gallery), rows[kept])
    return TestSet(joined, query, gallery, number[query_rows], number[gallery_rows])


def score(
    test: TestSet, distances: Callable[[np.ndarray, np.ndarray], np.ndarray], protocols, rerank: bool = False
) -> dict[str, dict]:
    """Rank under every protocol: `{protocol: summary}` as in `results.json`.

    `distances(query_rows, gallery_rows)` gives `[Q, G]` for rows of `test.tracklets`; `rerank` re-ranks them by their
    k-reciprocal neighbours (k1 = 20, k2 = 6, λ = 0.3, as published), a query that is in the gallery entering once.
    """
    scores = {}
    for name in protocols:
        query, gallery = select(test, name)
        table = (reranked if rerank else distance_table)(test, distances, query, gallery)
        ranking = retrieval.rank(
            table,
            test.query.pids[query],
            test.gallery.pids[gallery],
            test.query.camids[query],
            test.gallery.camids[gallery],
        )
        scores[name] = ranking.summary()
    return scores


def check_answerable(test: TestSet, protocol: str) -> None:
    """Raise `InputError` where no query at all has a match from another camera in the gallery."""
    query, gallery = select(test, protocol)
    cameras: dict[int, set[int]] = {}
    for pid, camid in zip(test.gallery.pids[gallery].tolist(), test.gallery.camids[gallery].tolist(), strict=True):
        cameras.setdefault(pid, set()).add(camid)
    asked = zip(test.query.pids[query].tolist(), test.query.camids[query].tolist(), strict=True)
    if not any(cameras.get(pid, set()) - {camid} for pid, camid in asked):
        raise InputError(
            f"no query of protocol {protocol} has a tracklet of its identity from another camera in the gallery, so "
            "there is nothing to score: check the pids and cameras of query and gallery"
        )


def select(test: TestSet, protocol: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `test.query` [Q] and of `test.gallery` [G] that a protocol uses."""
    return retrieval.protocols.get(protocol).select(
        test.query.tracklet_ids,
        test.query.pids,
        test.query.camids,
        test.gallery.tracklet_ids,
        test.gallery.pids,
        test.gallery.camids,
    )


def distance_table(test: TestSet, distances, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """`[Q, G]` of chosen rows of `test.query` and `test.gallery`."""
    return distances(test.query_rows[query], test.gallery_rows[gallery])


def reranked(test: TestSet, distances, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """`distance_table`, re-ranked; three tables over the same rows are in memory meanwhile."""
    index = retrieval.protocols.query_index(test.query.tracklet_ids[query], test.gallery.tracklet_ids[gallery])
    q, g = test.query_rows[query], test.gallery_rows[gallery]
    within = distances(g, g)
    squared = getattr(distances, "squared", False)
    if index is not None:
        return retrieval.rerank_distances(None, None, within, query_index=index, squared=squared)
    return retrieval.rerank_distances(distances(q, g), distances(q, q), within, squared=squared)


def open_set(test: TestSet, distances, protocol: str, rates=FALSE_ACCEPT_RATES) -> dict | None:
    """Same person or not, by a threshold on the distance, over all pairs of a protocol: equal-error rate and thresholds.

    `threshold[i]` is the largest distance at which at most `false_accept_rate[i]` of the pairs of two persons pass, and
    `true_accept_rate[i]` of the pairs of one person do. None where there is no pair of one of the two kinds. `metric`
    names the distance; where it is learned, `of_vectors` is the same of the plain distance of the tracklets' vectors,
    in which galleries are searched.
    """
    found = _thresholds(test, distances, protocol, rates)
    if found and distances.metric not in METRICS:
        found["of_vectors"] = _thresholds(test, feature_distances(distances.features, METRICS[0]), protocol, rates)
    return found


def _thresholds(test: TestSet, distances, protocol: str, rates) -> dict | None:
    query, gallery = select(test, protocol)
    labels = (
        test.query.pids[query],
        test.gallery.pids[gallery],
        test.query.camids[query],
        test.gallery.camids[gallery],
    )
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


def twin_scores(test: TestSet, distances, twins) -> dict:
    """Rank-1 between gait twins: of the query's identity and its twin, both in one other camera, who is nearer?

    Every query and every other camera in which both of a pair are seen is one comparison, so chance is one half
    whatever the cameras look like; equal distances count half.
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


def feature_distances(
    features: Features, metric: str | LearnedMetric
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return `distances(query_rows, gallery_rows)` over a table of features; `squared` and `metric` say what they are.

    Those that are not learned are computed on all of this process's devices.
    """
    learned = isinstance(metric, LearnedMetric)
    devices = jax.local_devices()
    mesh = make_mesh(devices) if len(devices) > 1 else None

    def between(a: Features, b: Features) -> np.ndarray:
        return metric.distance(a, b) if learned else retrieval.pairwise_distance(a, b, metric=metric, mesh=mesh)

    whole = between(features, features) if len(features) <= 4096 else None

    def distances(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        return between(features[query], features[gallery]) if whole is None else whole[np.ix_(query, gallery)]

    distances.squared = learned or metric == "sqeuclidean"
    distances.features, distances.between = features, between
    distances.metric = type(metric).__name__.lower() if learned else metric
    return distances


def parse_selection(name: str) -> tuple[str, str]:
    """Return what `PROBE/GALLERY` of `evaluation.selections` takes on either side, "random" or "all".

    Raises:
      InputError: for anything else.
    """
    probe, slash, gallery = name.partition("/")
    if not slash or {probe, gallery} - set(retrieval.tracklet_selection.SELECTIONS):
        raise InputError(f"evaluation.selections names {name!r}; it is PROBE/GALLERY, each random or all")
    return probe, gallery


def selection_scores(test: TestSet, distances, selections, draws: int = 10) -> dict[str, dict]:
    """Rank persons instead of tracklets (PersonVLAD, Table II): `{"tracklets_PROBE_GALLERY": summary}`, as in `score`.

    `distances` are those of `feature_distances`. The mean over `draws`, seeds 0, 1, …; of all/all there is but one.
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
