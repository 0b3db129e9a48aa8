"""The page that puts several runs side by side."""

import html
from collections.abc import Sequence
from pathlib import Path

from vreid_jax.errors import InputError
from vreid_jax.report.page import page, percent, table, write_page
from vreid_jax.report.run_page import SCORES, cmc_plot, counts, training_plots
from vreid_jax.report.stored import read_run


def write_comparison(workdirs: Sequence[str | Path], out: str | Path) -> Path:
    """Write a page of the scores, CMC curves and training curves of evaluated runs; returns its path.

    Numbers of different datasets, splits or protocols stand in different tables.
    """
    if len(workdirs) < 2:
        raise InputError("a comparison needs at least two workdirs")
    runs, groups = {}, {}
    for workdir in workdirs:
        run = read_run(workdir)
        runs[run.name if run.name not in runs else str(workdir)] = run
    for name, run in runs.items():
        for protocol, scores in run.results["protocols"].items():
            key = f"{run.results['dataset']}, split {run.results['split']}, protocol {protocol}"
            twins = run.results.get("twins", {}).get("system", {}).get("rank1")
            row = [name, run.results["system"], str(run.results["seed"]), str(run.results["step"])]
            row += [*(percent(scores.get(score)) for score in SCORES), percent(twins), *counts(scores)]
            groups.setdefault(key, []).append(row)
    head = ["run", "system", "seed", "step", "rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mAP trap.", "twins", "queries", "gallery"]  # fmt: skip
    sections = {
        "Scores": "".join(table(head, rows, key) for key, rows in groups.items()),
        "CMC": cmc_plot({name: run.results["protocols"] for name, run in runs.items()}),
        "Training": training_plots(runs),
    }
    names = ", ".join(runs)
    return write_page(Path(out), page(f"{len(runs)} runs compared", sections, f"<p>{html.escape(names)}</p>"))
