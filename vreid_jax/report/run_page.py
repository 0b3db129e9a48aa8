"""The page of one run: scores, curves, cameras, ranked lists and the worst failures."""

from pathlib import Path

from markupsafe import Markup

from vreid_jax import data, evaluation
from vreid_jax.errors import InputError
from vreid_jax.experiment.setup import own_test_splits
from vreid_jax.model_files.metadata import validation_note
from vreid_jax.report.curves import cmc_plot, training_plots
from vreid_jax.report.film_rows import Film, FilmRow, film_rows
from vreid_jax.report.insight import insight
from vreid_jax.report.page import write_page
from vreid_jax.report.pictures import strips
from vreid_jax.report.ranked_lists import Found, Lists, RankedList, ranked_lists
from vreid_jax.report.score_tables import scores_table
from vreid_jax.report.splits_page import write_splits_report
from vreid_jax.report.stored import StoredRun, read_run, stored_distances
from vreid_jax.report.tables import matrix, percent

KINDS = {"all": "all", "wrong": "failures", "right": "rank 1 is right", "none": "no match exists"}
EXPLANATION = (
    "Solid frame: the query's person; dashed frame: another person. Hover over a picture, or tap it, to see it walk. "
    "Failures come first, the worst at the top. Left and right keys move along a list."
)
OTHER_COMPARISON = "The ranked lists and cameras compare stored features; the scores use the system's own comparison."


def write_report(
    workdir: str | Path, out: str | Path | None = None, *, num_queries: int = 24, data_dir: str | None = None
) -> Path:
    """Write the page of an evaluated run, by default to `WORKDIR/report.html`.

    Args:
      workdir: folder of the run.
      out: file to write.
      num_queries: how many ranked lists to show; up to half of them are failures.
      data_dir: where the datasets are, if not where the run found them.

    Returns:
      Path of the page.

    Raises:
      InputError: when the run was not evaluated, its dataset is not there, or the page cannot be written.
    """
    if num_queries < 1:
        raise InputError(f"the number of ranked lists is {num_queries}; it must be at least 1")
    run = read_run(workdir)
    config, results = run.config, run.results
    if results["split"] == "all":
        return write_splits_report(run, out)
    with config.unlocked():
        config.logging.progress = False
        config.data.data_dir = data_dir or config.data.data_dir
    test = evaluation.make_test_set(*own_test_splits(config))
    lists = ranked_lists(test, stored_distances(run, test), run.protocol, num_queries=num_queries)
    curves = {"system": results["protocols"], **results.get("streams", {}), **results.get("baselines", {})}
    sections = {
        "Scores": scores_table(run),
        "CMC": cmc_plot(curves),
        "Training": training_plots({"": run}),
        "Cameras": _camera_matrices(lists, run.protocol),
        "Ranked lists": _list_rows(lists, test.tracklets),
    }
    if seen := insight(run, test.tracklets, lists):
        sections["What the network looks at"] = seen
    return write_page(
        Path(out) if out else run.workdir / "report.html",
        "run",
        [run.workdir],
        f"{results['system']} on {results['dataset']}",
        sections,
        intro=f"{run.name}: split {results['split']}{validation_note(results.get('validation'))}, seed {results['seed']}, "
        f"step {results['step']}, metric {results.get('metric', 'euclidean')}.",
        caution="" if _lists_are_the_scores(run, lists) else OTHER_COMPARISON,
    )


def _lists_are_the_scores(run: StoredRun, lists: Lists) -> bool:
    """Return whether the lists have the scores' mAP; a system may compare tracklets by more than stored features."""
    stored = run.results["protocols"][run.protocol]["mAP"]
    return stored is not None and abs(lists.ranking.mAP - stored) <= 1e-3


def _camera_matrices(lists: Lists, protocol: str) -> Markup:
    """Return rank-1 and mAP between every two cameras."""
    cameras = lists.cameras
    query, gallery = cameras.query_cameras.tolist(), cameras.gallery_cameras.tolist()
    return Markup().join(
        matrix(values, cameras.num_queries, query, gallery, f"{name}, protocol {protocol}, percent")
        for name, values in (("rank-1", cameras.rank1), ("mAP", cameras.mAP))
    )


def _list_rows(lists: Lists, tracklets: data.Tracklets) -> Markup:
    """Return the ranked lists as rows of films."""
    chosen = [*lists.worst, *lists.sample]
    rows = [found.row for one in chosen for found in (*one.found, *([one.missed] if one.missed else []))]
    addresses = strips(tracklets, [*rows, *(one.row for one in chosen)])
    return film_rows([_list_row(one, tracklets, addresses) for one in chosen], KINDS, EXPLANATION)


def _list_row(one: RankedList, tracklets: data.Tracklets, addresses: dict[int, str]) -> FilmRow:
    """Return one ranked list, with the first match at its end where that is not among the nearest."""
    kind = {0: "none", 1: "right"}.get(one.first_match, "wrong")
    verdict = {"none": "the gallery holds no match", "right": "rank 1 is right"}.get(
        kind, f"first match at rank {one.first_match}"
    )
    score = "" if kind == "none" else f", average precision {percent(one.average_precision)}"
    films = [Film("asked", "query", [], _who(one.row, tracklets), addresses[one.row])]
    films += [_film(found, str(rank), tracklets, addresses) for rank, found in enumerate(one.found, 1)]
    if one.missed:
        films.append(_film(one.missed, f"… {one.first_match}", tracklets, addresses))
    heading = f"{tracklets.tracklet_ids[one.row]}: {verdict}{score}"
    return FilmRow(kind, int(tracklets.camids[one.row]), heading, films)


def _film(found: Found, rank: str, tracklets: data.Tracklets, addresses: dict[int, str]) -> Film:
    """Return a tracklet that was found."""
    kind = "right" if found.right else "wrong"
    return Film(kind, kind, [rank, f"{found.distance:.3g}"], _who(found.row, tracklets), addresses[found.row])


def _who(row: int, tracklets: data.Tracklets) -> str:
    """Return the name of a tracklet with its person and camera."""
    return f"{tracklets.tracklet_ids[row]}, person {tracklets.pids[row]}, camera {tracklets.camids[row]}"
