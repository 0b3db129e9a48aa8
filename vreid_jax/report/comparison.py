"""The page that puts several runs side by side."""

import html
from collections.abc import Sequence
from pathlib import Path

from vreid_jax.errors import InputError
from vreid_jax.report.page import percent, table, write_page
from vreid_jax.report.run_page import HEAD, SCORES, cmc_plot, counts, training_plots
from vreid_jax.report.stored import read_run


def write_comparison(workdirs: Sequence[str | Path], out: str | Path) -> Path:
    """Write a page of the scores, CMC curves and training curves of evaluated runs; returns its path.

    Numbers of different datasets, splits or protocols stand in different tables.
    """
    if len(workdirs) < 2:
        raise InputError("a comparison needs at least two workdirs")
    places = [Path(workdir).expanduser().resolve() for workdir in workdirs]
    twice = next((workdir for workdir, place in zip(workdirs, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is named twice: a comparison is of different runs")
    runs, groups = {}, {}
    for workdir, place in zip(workdirs, places, strict=True):
        run = read_run(workdir)
        runs[run.name if run.name not in runs else str(place)] = run
    for name, run in runs.items():
        for protocol, scores in run.results["protocols"].items():
            key = f"{run.results['dataset']}, split {run.results['split']}, protocol {protocol}"
            twins = run.results.get("twins", {}).get("system", {}).get("rank1")
            row = [name, *(percent(scores.get(score)) for score in SCORES), percent(twins), *counts(scores)]
            row += [run.results["system"], str(run.results["seed"]), str(run.results["step"])]
            groups.setdefault(key, []).append(row)
    head = ["run", *HEAD, "twins", "queries", "gallery", "system", "seed", "step"]
    sections = {
        "Scores": "".join(table(head, rows, key) for key, rows in groups.items()),
        "CMC": cmc_plot({name: run.results["protocols"] for name, run in runs.items()}),
        "Training": training_plots(runs),
    }
    intro = f"<p>{html.escape(', '.join(runs))}</p>"
    return write_page(Path(out), "comparison", workdirs, f"{len(runs)} runs compared", sections, intro)
