"""Distances, ranking, re-ranking and search at the size of MARS, with the features of random persons."""

from __future__ import annotations

import time

import jax
import numpy as np
from retrieval import distance_product, mars_tables, person_features

from device_parts.measuring import Run
from vreid_jax import retrieval


def measure(run: Run) -> None:
    """Write the seconds of the first and of the fastest later call of each."""
    pids, camids, rows = mars_tables()
    if run.smoke:
        rows = rows[:40]
        kept = np.concatenate([rows, np.setdiff1d(np.arange(400), rows)])
        pids, camids, rows = pids[kept], camids[kept], np.arange(len(rows))
    features = person_features(pids, 32 if run.smoke else 2048)
    query = features[rows]
    identities = pids[rows], pids, camids[rows], camids
    distances = retrieval.pairwise_distance(query, features)
    evaluate = getattr(retrieval, "evaluate", None)
    calls = {
        "product of all features alone, highest precision": lambda: distance_product(features),
        "pairwise_distance": lambda: retrieval.pairwise_distance(query, features),
        "rank": lambda: retrieval.rank(distances, *identities),
        "evaluate": evaluate and (lambda: evaluate(query, features, *identities)),
        "evaluate, features on the device": evaluate and (lambda: evaluate(*on_device, *identities)),
        "top_k, 10 nearest": lambda: retrieval.top_k(query, features, 10),
        "rerank": lambda: retrieval.rerank(query, features, query_index=rows),
    }
    on_device = jax.device_put(query), jax.device_put(features)
    for name, call in calls.items():
        if call is None:
            continue
        with run.case(name):
            times = []
            while len(times) < (2 if run.smoke or name == "rerank" else 3) and run.left > 0:
                started = time.perf_counter()
                result = call()
                times.append(time.perf_counter() - started)
            seconds = result if isinstance(result, float) else min(times[1:] or times)
            shape = f"{len(query)} x {len(features)} x {features.shape[1]}"
            run.write(name, size=shape, first_s=round(times[0], 3), s=round(seconds, 4))
