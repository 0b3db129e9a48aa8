"""The page of a data set's splits: their means, and each of them."""

from pathlib import Path

from vreid_jax.report.page import percent, table, write_page
from vreid_jax.report.run_page import HEAD, SCORES, cmc_plot, protocol_tables, scores_table, training_plots
from vreid_jax.report.stored import StoredRun, read_run


def write_splits_report(run: StoredRun, out: str | Path | None = None) -> Path:
    """Write the page of a run with `split` "all": means with deviations, the splits side by side, curves of all."""
    results = run.results
    runs = {f"split {one['split']}": read_run(run.workdir / f"split_{one['split']}") for one in results["splits"]}
    spread = [
        [protocol, *(f"{percent(scores[key])} ± {percent(results['std'][protocol][key])}" for key in SCORES)]
        for protocol, scores in results["protocols"].items()
    ]
    note = f"<p>Ranked lists and cameras are on the page of one split: vreid report {run.name}/split_0</p>"
    sections = {
        "Scores": table(["mean ± deviation", *HEAD], spread) + scores_table(run),
        "Splits": protocol_tables((name, own.results["protocols"]) for name, own in runs.items()) + note,
        "CMC": cmc_plot(
            {"mean": results["protocols"], **{name: own.results["protocols"] for name, own in runs.items()}}
        ),
        "Training": training_plots(runs),
    }
    title = f"{results['system']} on {results['dataset']}, {len(runs)} splits"
    return write_page(Path(out) if out else run.workdir / "report.html", "run", [run.workdir], title, sections)
