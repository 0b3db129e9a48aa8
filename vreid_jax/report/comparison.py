"""The page that puts several runs side by side."""

import os
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from vreid_jax.errors import InputError
from vreid_jax.files import given_path
from vreid_jax.model_files.metadata import validation_note
from vreid_jax.report.curves import cmc_plot, training_plots
from vreid_jax.report.page import write_page
from vreid_jax.report.score_tables import HEAD, SCORES, counts
from vreid_jax.report.stored import read_run
from vreid_jax.report.tables import percent, table


def write_comparison(workdirs: Sequence[str | Path], out: str | Path) -> Path:
    """Write a page of the scores, CMC curves and training curves of evaluated runs.

    Numbers of different datasets, also sizes of one or folders, and of different splits, shares held out for validation or
    protocols are in separate tables.

    Args:
      workdirs: at least two, all different.
      out: file to write.

    Returns:
      Path of the page.

    Raises:
      InputError: when there are fewer than two runs, one is named twice or was not evaluated, or the page cannot be
        written.
    """
    if len(workdirs) < 2:
        raise InputError("a comparison needs at least two workdirs")
    places = [given_path(workdir).resolve() for workdir in workdirs]
    twice = next((workdir for workdir, place in zip(workdirs, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is named twice: a comparison is of different runs")
    runs, groups = {}, {}
    for workdir, place in zip(workdirs, places, strict=True):
        run = read_run(workdir)
        runs[run.name if run.name not in runs else str(place)] = run
    for name, run in runs.items():
        for protocol, scores in run.results["protocols"].items():
            people = f"split {run.results['split']}{validation_note(run.results.get('validation'))}"
            data = run.results.get("dataset_config") or run.results["dataset"]
            if data == "folder":
                data = os.path.realpath(given_path(run.config.data.path))
            key = f"{data}, {people}, protocol {protocol}"
            twins = run.results.get("twins", {}).get("system", {}).get("rank1")
            row = [name, *(percent(scores.get(score)) for score in SCORES), percent(twins), *counts(scores)]
            row += [run.results["system"], str(run.results["seed"]), str(run.results["step"])]
            groups.setdefault(key, []).append(row)
    head = ["run", *HEAD, "twins", "queries", "gallery", "system", "seed", "step"]
    sections = {
        "Scores": Markup().join(table(head, rows, key) for key, rows in groups.items()),
        "CMC": cmc_plot({name: run.results["protocols"] for name, run in runs.items()}),
        "Training": training_plots(runs),
    }
    title = f"{len(runs)} runs compared"
    return write_page(Path(out), "comparison", workdirs, title, sections, intro=", ".join(runs))
