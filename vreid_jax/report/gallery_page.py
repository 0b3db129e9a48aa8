"""The page of a gallery: its tracklets as queries, what is nearest to each, and whether that is the same person."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.report.film_rows import filters, item, row
from vreid_jax.report.page import page, table, write_page
from vreid_jax.report.pictures import strips
from vreid_jax.search.gallery import Gallery, open_gallery
from vreid_jax.search.ranked import Decision, Match, decision, find, left_out
from vreid_jax.search.sources import gallery_tracklets

MOST_QUERIES = 4096  # that are looked at to choose those that are shown
DEPTH = 10
KINDS = {"all": "all", "same": "the same person found", "other": "nobody found"}


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
      InputError: when there is no such gallery, query or picture.
    """
    if num_queries < 1:
        raise InputError(f"the number of ranked lists is {num_queries}; it must be at least 1")
    path = Path(gallery).expanduser()
    opened = open_gallery(path)
    rule = decision(opened.about, false_accept_rate)
    asked = _rows(opened, queries, path)
    names, cameras = opened.columns["tracklet_id"][asked].tolist(), opened.columns["camid"][asked]
    hidden = left_out(opened, names, cameras if other_cameras else None)
    found = find(opened, opened.vectors[asked], DEPTH, false_accept_rate=false_accept_rate, leave_out=hidden)
    if not queries:
        nearest = [matches[0].distance if matches else math.inf for matches in found]
        order = np.argsort(nearest, kind="stable")[:num_queries]
        asked, found = asked[order], [found[number] for number in order]
    numbers = {name: number for number, name in enumerate(opened.columns["tracklet_id"].tolist())}
    shown = {int(number) for number in asked}
    shown |= {numbers[match.row["tracklet_id"]] for matches in found for match in matches}
    rows = sorted(shown)
    films = strips(gallery_tracklets(opened, np.array(rows), data_dir), range(len(rows)))
    films = {rows[place]: film for place, film in films.items()}
    lists = "".join(
        _list(opened, int(number), matches, rule, films, numbers) for number, matches in zip(asked, found, strict=True)
    )
    kinds = KINDS if rule else {"all": "all"}
    intro = (
        "<p>Solid frame: the same person by the threshold; dashed frame: somebody else. Rest on a picture, or tap it, to "
        "see it walk. Left and right keys move along a list.</p>"
    )
    head = intro + filters(kinds, (int(camera) for camera in opened.columns["camid"][asked]))
    sections = {"Gallery": _facts(opened, rule), "Who is like whom": head + lists}
    return write_page(Path(out) if out else path.with_suffix(".html"), page(f"People in {path.name}", sections))


def _rows(gallery: Gallery, queries: Sequence[str], path: Path) -> np.ndarray:
    names = gallery.columns["tracklet_id"]
    if not queries:
        return np.unique(np.linspace(0, len(names) - 1, min(len(names), MOST_QUERIES)).round().astype(int))
    missing = sorted(set(queries) - set(names.tolist()))
    if missing:
        raise InputError(f"{missing[0]} is no tracklet of {path}; it has {', '.join(names[:3].tolist())}, …")
    return np.array([int(np.flatnonzero(names == name)[0]) for name in queries])


def _facts(gallery: Gallery, rule: Decision | None) -> str:
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
        rows.append(["same person", f"up to {rule.threshold:.4g}"])
        rows.append(["of pairs of two persons pass", f"{100 * rule.false_accept_rate:g} %"])
        rows.append(["of pairs of one person pass", f"{100 * rule.true_accept_rate:.1f} %"])
        rows.append(["measured on", rule.protocol])
    return table(["", ""], rows)


def _list(gallery: Gallery, number: int, matches: list[Match], rule: Decision | None, films, numbers) -> str:
    query = gallery.row(number)
    same = sum(bool(match.same_person) for match in matches)
    kind = "all" if rule is None else "same" if same else "other"
    verdict = "" if rule is None else f": {same or 'none'} of the nearest {len(matches)} the same person"
    items = [item("asked", "query", [_when(query)], _who(query), films[number])]
    for match in matches:
        words = {True: "same", False: "other", None: ""}[match.same_person]
        style = {True: "right", False: "wrong", None: "open"}[match.same_person]
        lines = [str(match.rank), f"{match.distance:.3g}", _when(match.row)]
        items.append(item(style, words, lines, _who(match.row), films[numbers[match.row["tracklet_id"]]]))
    return row(kind, query["camid"], f"{query['tracklet_id']}{verdict}", items)


def _who(of: dict) -> str:
    person = f", person {of['pid']}" if of["pid"] > 0 else ""
    camera = f", camera {of['camid']}" if of["camid"] > 0 else ""
    return f"{of['tracklet_id']}{person}{camera}"


def _when(of: dict) -> str:
    if math.isnan(of["start_seconds"]):
        return ""
    return f"{of['start_seconds']:.1f}-{of['end_seconds']:.1f} s"
