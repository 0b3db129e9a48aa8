"""Tables of scores, shared by the pages of runs, splits and comparisons."""

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from vreid_jax.report.stored import StoredRun
from vreid_jax.report.tables import percent, table

SCORES = ("rank1", "rank5", "rank10", "rank20", "mAP", "mAP_trapezoid")
HEAD = ("rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mAP trap.")


def scores_table(run: StoredRun) -> Markup:
    """Return the scores of a run: every protocol of the system, its streams and the baselines, with counts."""
    results = run.results
    groups = [(results["system"], results["protocols"]), ("re-ranked", results.get("reranked", {}))]
    groups += [(f"stream {name}", found) for name, found in results.get("streams", {}).items()]
    groups += [(name.replace("_", " "), found) for name, found in results.get("baselines", {}).items()]
    tables = protocol_tables(groups)
    if results.get("twins"):
        twins = [[name, percent(found["rank1"]), str(found["num_pairs"])] for name, found in results["twins"].items()]
        tables += table(["", "right twin nearer", "comparisons"], twins, "Gait twins, percent: chance is 50")
    opened = results.get("open_set") or {}
    for measured in filter(None, (opened, opened.get("of_vectors"))):
        tables += _open_set_table(measured)
    return tables


def _open_set_table(measured: dict[str, Any]) -> Markup:
    """Return the thresholds of one distance with their error rates."""
    rows = [
        [f"{rate:g}", "–" if threshold is None else f"{threshold:.4g}", percent(accepted)]
        for rate, threshold, accepted in zip(
            measured["false_accept_rate"], measured["threshold"], measured["true_accept_rate"], strict=True
        )
    ]
    caption = (
        f"Same person or different, {measured.get('metric', 'plain')} distance, protocol {measured['protocol']}: "
        f"equal error rate {percent(measured['equal_error_rate'])} %"
    )
    return table(["false-accept rate", "threshold", "true-accept rate, %"], rows, caption)


def protocol_tables(groups: Iterable[tuple[str, dict]]) -> Markup:
    """Return a table for each protocol.

    Args:
      groups: names, one a row, each with its results by protocol.
    """
    rows: dict[str, list[list[str]]] = {}
    for name, protocols in groups:
        for protocol, scores in protocols.items():
            row = [name, *(percent(scores.get(key)) for key in SCORES), *counts(scores)]
            rows.setdefault(protocol, []).append(row)
    head = ["", *HEAD, "queries", "gallery"]
    return Markup().join(table(head, found, f"Protocol {protocol}") for protocol, found in rows.items())


def counts(scores: dict) -> tuple[str, str]:
    """Return the number of queries, with the valid ones where they differ, and the size of the gallery."""
    valid, every = scores["num_valid_queries"], scores["num_queries"]
    return (str(every) if valid == every else f"{every}, {valid} valid"), str(scores["num_gallery"])
