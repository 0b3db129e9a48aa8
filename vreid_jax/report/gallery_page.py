"""The page of a gallery: its tracklets as queries, what is nearest to each, and whether that is within the threshold."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from vreid_jax.errors import InputError
from vreid_jax.report.film_rows import Film, FilmRow, film_rows
from vreid_jax.report.page import write_page
from vreid_jax.report.pictures import strips
from vreid_jax.report.tables import table
from vreid_jax.search.gallery import Gallery, open_gallery
from vreid_jax.search.ranked import Decision, Match, at_once, check_cameras, decision, find, left_out
from vreid_jax.search.sources import gallery_tracklets

MOST_QUERIES = 4096  # that are looked at to choose those that are shown
DEPTH = 10
KINDS = {"all": "all", "same": "candidates found", "other": "none found"}


def write_gallery_report(
    gallery: str | Path,
    out: str | Path | None = None,
    *,
    num_queries: int = 24,
    queries: Sequence[str] = (),
    false_accept_rate: float | int = 0.01,
    other_cameras: bool = False,
    data_dir: str | None = None,
) -> Path:
    """Write the page of a gallery file, by default beside it as `.html`; returns its path.

    Args:
      gallery: file that `vreid embed` wrote; the pictures it was made of are still where they were.
      out: file to write.
      num_queries: how many tracklets are asked for; those with the nearest neighbours come first.
      queries: their `tracklet_id`s; empty: as above.
      false_accept_rate: of the decision, in (0, 1].
      other_cameras: whether to find only what another camera saw.
      data_dir: where datasets are, of a gallery of one.

    Raises:
      InputError: when there is no such gallery, query or picture, and no camera known where another is asked for.
    """
    if num_queries < 1:
        raise InputError(f"the number of ranked lists is {num_queries}; it must be at least 1")
    path = Path(gallery).expanduser()
    opened = open_gallery(path)
    rule = decision(opened.about, false_accept_rate)
    if other_cameras:
        check_cameras(opened.columns["camid"], path)
    asked = _rows(opened, queries, path)
    names, cameras = opened.columns["tracklet_id"][asked].tolist(), opened.columns["camid"][asked]
    hidden = left_out(opened, names, cameras if other_cameras else None)
    times = np.stack([opened.columns[key][asked] for key in ("start_seconds", "end_seconds")], 1)
    found = find(
        opened,
        opened.vectors[asked],
        DEPTH,
        false_accept_rate=false_accept_rate,
        leave_out=hidden,
        apart=at_once(opened, times),
    )
    if not queries:
        nearest = [matches[0].distance if matches else math.inf for matches in found]
        order = np.argsort(nearest, kind="stable")[:num_queries]
        asked, found = asked[order], [found[number] for number in order]
    row_of = {name: row for row, name in enumerate(opened.columns["tracklet_id"].tolist())}
    shown = {int(row) for row in asked}
    shown |= {row_of[match.row["tracklet_id"]] for matches in found for match in matches}
    rows = sorted(shown)
    films = strips(gallery_tracklets(opened, np.array(rows), data_dir), range(len(rows)))
    addresses = {opened.columns["tracklet_id"][rows[place]]: film for place, film in films.items()}
    lists = [
        _list_row(opened.row(int(row)), matches, rule, addresses) for row, matches in zip(asked, found, strict=True)
    ]
    kinds = KINDS if rule else {"all": "all"}
    frames = "Solid frame: within the threshold; dashed frame: beyond it, or seen at the same time. " if rule else ""
    explanation = f"{frames}Rest on a picture, or tap it, to see it walk. Left and right keys move along a list."
    sections = {"Gallery": _facts(opened, rule), "Who is like whom": film_rows(lists, kinds, explanation)}
    page = Path(out) if out else path.with_suffix(".html")
    title = f"People in {path.name}"
    return write_page(page, "gallery", [path], title, sections, caution=_caution(opened, rule))


def _rows(gallery: Gallery, queries: Sequence[str], path: Path) -> np.ndarray:
    names = gallery.columns["tracklet_id"]
    if not queries:
        return np.unique(np.linspace(0, len(names) - 1, min(len(names), MOST_QUERIES)).round().astype(int))
    missing = sorted(set(queries) - set(names.tolist()))
    if missing:
        raise InputError(f"{missing[0]} is no tracklet of {path}; it has {', '.join(names[:3].tolist())}, …")
    return np.array([int(np.flatnonzero(names == name)[0]) for name in queries])


def _measured_on(gallery: Gallery, rule: Decision) -> str:
    dataset = gallery.about.get("dataset")
    return f"{dataset}, protocol {rule.protocol}" if dataset else f"the model's test set, protocol {rule.protocol}"


def _caution(gallery: Gallery, rule: Decision | None) -> str:
    if rule is None:
        return ""
    return (
        f"The threshold was measured on {_measured_on(gallery, rule)}; on video of another kind it may be off: take what "
        "is within it for candidates, not for the same person."
    )


def _facts(gallery: Gallery, rule: Decision | None) -> Markup:
    about = gallery.about
    rows = [
        ["made from", str(about["input"])],
        ["model", f"{about['model']} {about['fingerprint']}"],
        ["tracklets", str(len(gallery))],
        ["cameras", str(len(np.unique(gallery.columns["camid"])))],
        ["distance", str(about["metric"])],
    ]
    if rule is None:
        rows.append(["same person", "not decided: the model was not evaluated, so that no threshold is known"])
    else:
        rows.append(["within the threshold", f"up to {rule.threshold:.4g}"])
        rows.append(["measured on", _measured_on(gallery, rule)])
        rows.append(["of pairs of two persons passed there", f"{100 * rule.false_accept_rate:g} %"])
        rows.append(["of pairs of one person passed there", f"{100 * rule.true_accept_rate:.1f} %"])
    return table(["", ""], rows)


def _list_row(query: dict, matches: list[Match], rule: Decision | None, addresses: dict[str, str]) -> FilmRow:
    """Return a query, by its columns, with its matches and how many of them are within the threshold."""
    found = [_found(match, rule) for match in matches]
    kind, verdict = "all", ""
    if rule is not None:
        kind = "same" if "within" in found else "other"
        within = len(matches) - found.count("beyond")
        verdict = f": {within or 'none'} of the nearest {len(matches)} within the threshold"
        if excluded := found.count("same time"):
            verdict += f", {excluded} of them seen at the same time"
    films = [Film("asked", "query", [_when(query)], _who(query), addresses[query["tracklet_id"]])]
    for match, words in zip(matches, found, strict=True):
        style = {"within": "right", "": "open"}.get(words, "wrong")
        lines = [str(match.rank), f"{match.distance:.3g}", _when(match.row)]
        films.append(Film(style, words, lines, _who(match.row), addresses[match.row["tracklet_id"]]))
    return FilmRow(kind, query["camid"], f"{query['tracklet_id']}{verdict}", films)


def _found(match: Match, rule: Decision | None) -> str:
    """What is said of a match; one that is near, but seen at the same time, is decided to be somebody else."""
    if rule is None:
        return ""
    if match.same_person:
        return "within"
    return "beyond" if match.distance > rule.threshold else "same time"


def _who(of: dict) -> str:
    person = f", person {of['pid']}" if of["pid"] > 0 else ""
    camera = f", camera {of['camid']}" if of["camid"] > 0 else ""
    return f"{of['tracklet_id']}{person}{camera}"


def _when(of: dict) -> str:
    if math.isnan(of["start_seconds"]):
        return ""
    return f"{of['start_seconds']:.1f}-{of['end_seconds']:.1f} s"
