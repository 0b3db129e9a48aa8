"""The page of one run: scores, curves, cameras, ranked lists and the worst failures."""

import html
from collections.abc import Iterable
from pathlib import Path

from vreid_jax import data, evaluation
from vreid_jax.errors import InputError
from vreid_jax.experiment.sources import dataset_builder
from vreid_jax.report.film_rows import filters, item, row
from vreid_jax.report.insight import insight
from vreid_jax.report.page import percent, table, write_page
from vreid_jax.report.pictures import strips
from vreid_jax.report.plots import line_plot, matrix
from vreid_jax.report.ranked_lists import Found, Lists, RankedList, ranked_lists
from vreid_jax.report.stored import StoredRun, read_run, stored_distances

KINDS = {"all": "all", "wrong": "failures", "right": "first is right", "none": "no match exists"}
SCORES = ("rank1", "rank5", "rank10", "rank20", "mAP", "mAP_trapezoid")
HEAD = ("rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mAP trap.")


def write_report(
    workdir: str | Path, out: str | Path | None = None, *, num_queries: int = 24, data_dir: str | None = None
) -> Path:
    """Write the page of an evaluated run, by default to `WORKDIR/report.html`; returns its path.

    Args:
      workdir: of the run.
      out: file to write.
      num_queries: how many ranked lists; half of them are failures where there are so many.
      data_dir: where datasets are, if not where the run found them.

    Raises:
      InputError: when the run was not evaluated, or its dataset is not there.
    """
    if num_queries < 1:
        raise InputError(f"the number of ranked lists is {num_queries}; it must be at least 1")
    run = read_run(workdir)
    config = run.config
    if config.split == "all":
        from vreid_jax.report.splits_page import write_splits_report

        return write_splits_report(run, out)
    with config.unlocked():
        config.logging.progress = False
        config.data.data_dir = data_dir or config.data.data_dir
    builder = dataset_builder(config)
    test = evaluation.make_test_set(*(data.TrackletSource(builder, split) for split in ("query", "gallery")))
    lists = ranked_lists(test, stored_distances(run, test), run.protocol, num_queries=num_queries)
    sections = {
        "Scores": scores_table(run),
        "CMC": cmc_plot({"system": run.results["protocols"], **run.results.get("streams", {}), **run.results.get("baselines", {})}),
        "Training": training_plots({"": run}),
        "Cameras": _cameras(lists, run.protocol),
        "Ranked lists": _lists_section(lists, test.tracklets),
    }  # fmt: skip
    if seen := insight(run, test.tracklets, lists):
        sections["What the network looks at"] = seen
    title = f"{run.results['system']} on {run.results['dataset']}"
    intro = (
        f"<p>{html.escape(run.name)}: split {run.results['split']}, seed {run.results['seed']}, step {run.results['step']}, "
        f"metric {html.escape(str(run.results.get('metric', 'euclidean')))}.</p>"
    )
    # A system may compare tracklets by more than the features that are stored; then the lists cannot be the scores' own.
    if abs(lists.ranking.mAP - run.results["protocols"][run.protocol]["mAP"]) > 1e-3:
        intro += "<p><strong>The ranked lists and cameras compare stored features; the scores compare tracklets in the system's own way.</strong></p>"  # fmt: skip
    return write_page(Path(out) if out else run.workdir / "report.html", "run", [run.workdir], title, sections, intro)


def scores_table(run: StoredRun) -> str:
    """Every protocol of the system, its streams and the baselines, with counts."""
    results = run.results
    groups = [(results["system"], results["protocols"]), ("re-ranked", results.get("reranked", {}))]
    groups += [(f"stream {name}", found) for name, found in results.get("streams", {}).items()]
    groups += [(name.replace("_", " "), found) for name, found in results.get("baselines", {}).items()]
    text = protocol_tables(groups)
    if results.get("twins"):
        twins = [[name, percent(found["rank1"]), str(found["num_pairs"])] for name, found in results["twins"].items()]
        text += table(["", "right one of two twins", "comparisons"], twins, "Gait twins: chance is 50")
    opened = results.get("open_set") or {}
    for measured in filter(None, (opened, opened.get("of_vectors"))):
        rows = [
            [f"{rate:g}", "–" if threshold is None else f"{threshold:.4g}", percent(accepted)]
            for rate, threshold, accepted in zip(
                measured["false_accept_rate"], measured["threshold"], measured["true_accept_rate"], strict=True
            )
        ]
        caption = (
            f"Same person or not, {measured.get('metric', 'plain')} distance, protocol {measured['protocol']}: "
            f"equal-error rate {percent(measured['equal_error_rate'])} %"
        )
        text += table(["false-accept rate", "distance up to", "one person accepted"], rows, caption)
    return text


def protocol_tables(groups: Iterable[tuple[str, dict]]) -> str:
    """A table for each protocol: the scores and counts of each name in `groups`, names with results by protocol."""
    rows: dict[str, list[list[str]]] = {}
    for name, protocols in groups:
        for protocol, scores in protocols.items():
            row_of = [name, *(percent(scores.get(key)) for key in SCORES), *counts(scores)]
            rows.setdefault(protocol, []).append(row_of)
    return "".join(
        table(["", *HEAD, "queries", "gallery"], found, f"Protocol {protocol}") for protocol, found in rows.items()
    )


def counts(scores: dict) -> tuple[str, str]:
    """Queries, with the valid ones where they differ, and gallery."""
    valid, every = scores["num_valid_queries"], scores["num_queries"]
    return (str(every) if valid == every else f"{every}, {valid} valid"), str(scores["num_gallery"])


def cmc_plot(tables: dict[str, dict]) -> str:
    """The CMC curves of the first protocol of each of `tables`."""
    series = {}
    for name, protocols in tables.items():
        curve = next(iter(protocols.values()))["cmc"]
        series[name.replace("_", " ")] = (range(1, len(curve) + 1), curve)
    return line_plot(series, title="CMC", x_label="rank", y_label="queries found", y_range=(0.0, 1.0))


def training_plots(runs: dict[str, StoredRun]) -> str:
    """The loss of every run over its steps, and the other scalars that were logged."""
    names = sorted(
        {name for run in runs.values() for line in run.metrics for name in line} - {"step", "phase", "seconds"}
    )
    names.sort(key=lambda name: name != "loss")
    plots = []
    for name in names:
        series = {}
        for title, run in runs.items():
            lines = [line for line in run.metrics if isinstance(line.get(name), int | float)]
            if lines:
                series[title or name] = ([line["step"] for line in lines], [line[name] for line in lines])
        if series:
            plots.append(line_plot(series, title=name, x_label="step", y_label=name))
    return f'<div class="plots">{"".join(plots)}</div>' if plots else "<p>Nothing was logged.</p>"


def _cameras(lists: Lists, protocol: str) -> str:
    cameras = lists.cameras
    parts = [
        matrix(values, cameras.num_queries, cameras.query_cameras.tolist(), cameras.gallery_cameras.tolist(), f"{name}, protocol {protocol}, percent")
        for name, values in (("rank-1", cameras.rank1), ("mAP", cameras.mAP))
    ]  # fmt: skip
    return "".join(parts)


def _lists_section(lists: Lists, tracklets: data.Tracklets) -> str:
    chosen = [*lists.worst, *lists.sample]
    rows = [found.row for one in chosen for found in (*one.found, *([one.missed] if one.missed else []))]
    films = strips(tracklets, [*rows, *(one.row for one in chosen)])
    intro = (
        "<p>Solid frame: the query's person; dashed frame: somebody else. Rest on a picture, or tap it, to see it walk. "
        "The failures, worst first, then others. Left and right keys move along a list.</p>"
    )
    head = intro + filters(KINDS, (int(tracklets.camids[one.row]) for one in chosen))
    return head + "".join(_one_list(one, tracklets, films) for one in chosen)


def _one_list(one: RankedList, tracklets: data.Tracklets, films: dict[int, str]) -> str:
    kind = {0: "none", 1: "right"}.get(one.first_match, "wrong")
    verdict = {"none": "nothing in the gallery matches", "right": "first is right"}.get(
        kind, f"first match at rank {one.first_match}"
    )
    score = "" if kind == "none" else f", average precision {percent(one.average_precision)}"
    items = [item("asked", "query", [], _who(one.row, tracklets), films[one.row])]
    items += [_found(found, str(rank), tracklets, films) for rank, found in enumerate(one.found, 1)]
    if one.missed:
        items.append(_found(one.missed, f"… {one.first_match}", tracklets, films))
    return row(kind, int(tracklets.camids[one.row]), f"{tracklets.tracklet_ids[one.row]}: {verdict}{score}", items)


def _found(found: Found, rank: str, tracklets: data.Tracklets, films: dict[int, str]) -> str:
    kind = "right" if found.right else "wrong"
    return item(kind, kind, [rank, f"{found.distance:.3g}"], _who(found.row, tracklets), films[found.row])


def _who(number: int, tracklets: data.Tracklets) -> str:
    return f"{tracklets.tracklet_ids[number]}, person {tracklets.pids[number]}, camera {tracklets.camids[number]}"
