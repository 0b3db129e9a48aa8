"""CMC and training curves, shared by the pages of runs, splits and comparisons."""

from collections.abc import Mapping

from markupsafe import Markup

from vreid_jax.report.plots import line_plot
from vreid_jax.report.rendering import render
from vreid_jax.report.stored import StoredRun


def cmc_plot(results: Mapping[str, Mapping[str, dict]]) -> Markup:
    """Return the CMC curves of the first protocol of each name's results."""
    series = {}
    for name, protocols in results.items():
        curve = next(iter(protocols.values()))["cmc"]
        series[name.replace("_", " ")] = (range(1, len(curve) + 1), curve)
    return line_plot(series, title="CMC", x_label="rank", y_label="queries found", y_range=(0.0, 1.0))


def training_plots(runs: Mapping[str, StoredRun]) -> Markup:
    """Return plots of every logged scalar over the steps, the loss first, with a line for each run.

    Args:
      runs: legend of each line and its run; an empty legend gives the scalar's name.
    """
    names = {name for run in runs.values() for line in run.metrics for name in line} - {"step", "phase", "seconds"}
    plots = []
    for name in sorted(names, key=lambda name: (name != "loss", name)):
        series = {}
        for title, run in runs.items():
            lines = [line for line in run.metrics if isinstance(line.get(name), int | float)]
            if lines:
                series[title or name] = ([line["step"] for line in lines], [line[name] for line in lines])
        if series:
            plots.append(line_plot(series, title=name, x_label="step", y_label=name))
    return render("plots.html", plots=plots)
