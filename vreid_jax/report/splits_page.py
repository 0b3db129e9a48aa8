"""The page of a dataset's splits: their means, and each of them."""

from pathlib import Path

from vreid_jax.model_files.metadata import validation_note
from vreid_jax.report.curves import cmc_plot, training_plots
from vreid_jax.report.page import write_page
from vreid_jax.report.rendering import paragraph
from vreid_jax.report.score_tables import HEAD, SCORES, protocol_tables, scores_table
from vreid_jax.report.stored import StoredRun, read_run
from vreid_jax.report.tables import percent, table


def write_splits_report(run: StoredRun, out: str | Path | None = None) -> Path:
    """Write the page of a run with `split` "all": means with deviations, the splits side by side, curves of all.

    Returns:
      Path of the page, by default `report.html` in the workdir.
    """
    results = run.results
    runs = {f"split {one['split']}": read_run(run.workdir / f"split_{one['split']}") for one in results["splits"]}
    protocols = {name: own.results["protocols"] for name, own in runs.items()}
    spread = results["std"]
    means = [
        [protocol, *(f"{percent(scores.get(key))} ± {percent(spread.get(protocol, {}).get(key))}" for key in SCORES)]
        for protocol, scores in results["protocols"].items()
    ]
    note = paragraph(f"Ranked lists and cameras are on the page of one split: vreid report {run.name}/split_0")
    sections = {
        "Scores": table(["mean ± deviation", *HEAD], means) + scores_table(run),
        "Splits": protocol_tables(protocols.items()) + note,
        "CMC": cmc_plot({"mean": results["protocols"], **protocols}),
        "Training": training_plots(runs),
    }
    title = (
        f"{results['system']} on {results['dataset']}, {len(runs)} splits{validation_note(results.get('validation'))}"
    )
    return write_page(Path(out) if out else run.workdir / "report.html", "run", [run.workdir], title, sections)
