"""The page of a gallery: tracklets as queries, their nearest neighbours, and which are within the threshold."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from vreid_jax.errors import InputError
from vreid_jax.files import given_path
from vreid_jax.report.film_rows import Film, FilmRow, film_rows
from vreid_jax.report.page import write_page
from vreid_jax.report.pictures import strips
from vreid_jax.report.tables import table
from vreid_jax.search.address import given_gallery
from vreid_jax.search.gallery import Gallery, last_part, open_gallery
from vreid_jax.search.ranked import (
    CALIBRATE,
    OWN_FOOTAGE,
    OWN_THRESHOLD,
    Decision,
    Match,
    Rows,
    at_once,
    check_cameras,
    decision,
    find,
    left_out,
    undecided,
)
from vreid_jax.search.sources import gallery_tracklets
from vreid_jax.search.unchanged import gallery_stamps

MOST_QUERIES = 4096  # searched for, to choose those that are shown
DEPTH = 10
MARKED = "Dashed frame: seen at the same time as the query, so another person. "
BAND = "Grey frame: perhaps the same person. "
KINDS = {"all": "all", "same": "with candidates", "none": "without candidates"}


def write_gallery_report(
    gallery: str | Path,
    out: str | Path | None = None,
    *,
    num_queries: int = 24,
    queries: Sequence[str] = (),
    false_accept_rate: float | int = 0.01,
    other_cameras: bool = False,
    data_dir: str | None = None,
    blur_faces: bool = False,
) -> Path:
    """Write the page of a gallery, by default beside it with the suffix `.html`.

    Args:
      gallery: file that `vreid embed` wrote, or a folder or address of such files; the pictures it was made from must still be where they were.
      out: file to write.
      num_queries: how many tracklets serve as queries; those with the nearest neighbours come first.
      queries: `tracklet_id`s of the queries; empty: the `num_queries` best.
      false_accept_rate: rate of the threshold that decides, in (0, 1].
      other_cameras: whether to find only tracklets of other cameras than the query's.
      data_dir: where datasets are, for a gallery made from one.
      blur_faces: whether to blur the head in every picture, as `visualize.heads.blur_heads` does.

    Returns:
      Path of the page.

    Raises:
      InputError: when the gallery, a query or a picture is missing, when no camera is known but `other_cameras` is set,
        or when the page cannot be written.
    """
    if num_queries < 1:
        raise InputError(f"the number of ranked lists is {num_queries}; it must be at least 1")
    path = given_gallery(gallery)
    if isinstance(path, str) and not out:
        raise InputError(f"{path} is an address: name the page that is written here with --out")
    read = gallery_stamps(path)
    opened = open_gallery(path)
    rule = decision(opened.about, false_accept_rate)
    if other_cameras:
        check_cameras(opened.columns["camid"], path)
    lists = _search(opened, _query_rows(opened, queries, path), false_accept_rate, other_cameras)
    if not queries:
        lists.sort(key=lambda one: one[1][0].distance if one[1] else math.inf)
        lists = lists[:num_queries]
    addresses = _film_addresses(opened, lists, data_dir, blur_faces)
    rows = [_list_row(opened.row(row), matches, rule, addresses) for row, matches in lists]
    kinds = KINDS if rule else {}
    frames = "Solid frame: within the threshold; dashed frame: beyond it, or seen at the same time. "
    frames = MARKED if rule is None else frames if rule.perhaps is None else f"{frames}{BAND}"
    if not queries and len(lists) < len(opened):
        frames = (
            f"The queries are the {len(lists)} of {len(opened)} tracklets whose nearest neighbours are nearest; "
            f"--queries=N shows more of them. {frames}"
        )
    explanation = f"{frames}Hover over a picture, or tap it, to see it walk. Left and right keys move along a list."
    sections = {"Gallery": _facts(opened, rule), "Nearest tracklets": film_rows(rows, kinds, explanation)}
    page = given_path(out) if out else Path(path).with_suffix(".html")
    title = f"People in {Path(path).name}"
    caution = _caution(opened, rule)
    return write_page(page, "gallery", [path], title, sections, caution=caution, blurred=blur_faces, read=read)


def _query_rows(gallery: Gallery, queries: Sequence[str], path: Path | str) -> np.ndarray:
    """Return the rows of the named tracklets; without names, at most `MOST_QUERIES` rows spread over the gallery."""
    names = gallery.columns["tracklet_id"]
    if not queries:
        return np.unique(np.linspace(0, len(names) - 1, min(len(names), MOST_QUERIES)).round().astype(int))
    missing = sorted(set(queries) - set(names.tolist()))
    if missing:
        raise InputError(f"{missing[0]} is not a tracklet of {path}; it has {', '.join(names[:3].tolist())}, …")
    return np.array([int(np.flatnonzero(names == name)[0]) for name in queries])


def _search(
    gallery: Gallery, rows: np.ndarray, false_accept_rate: float | int, other_cameras: bool
) -> list[tuple[int, list[Match]]]:
    """Return each query's row with its nearest tracklets, itself left out."""
    columns = gallery.columns
    names, cameras = columns["tracklet_id"][rows].tolist(), columns["camid"][rows] if other_cameras else None
    times = np.stack([columns[key][rows] for key in ("start_seconds", "end_seconds")], 1)
    inputs = columns["input"][rows] if "input" in columns else None

    def hidden(part: slice, of: Rows) -> np.ndarray:
        return left_out(gallery, names[part], None if cameras is None else cameras[part], of)

    def apart(part: slice, of: Rows) -> np.ndarray:
        return at_once(gallery, times[part], None if inputs is None else inputs[part], of)

    found = find(
        gallery,
        gallery.vectors[rows],
        DEPTH,
        false_accept_rate=false_accept_rate,
        leave_out=hidden,
        apart=apart,
    )
    return list(zip(rows.tolist(), found, strict=True))


def _film_addresses(
    gallery: Gallery, lists: Sequence[tuple[int, list[Match]]], data_dir: str | None, blur_faces: bool
) -> dict[str, str]:
    """Return the film strip of every tracklet in the lists, by its `tracklet_id`."""
    names = gallery.columns["tracklet_id"].tolist()
    row_of = {name: row for row, name in enumerate(names)}
    rows = {row for row, _ in lists} | {row_of[match.row["tracklet_id"]] for _, matches in lists for match in matches}
    shown = np.array(sorted(rows))
    films = strips(gallery_tracklets(gallery, shown, data_dir), range(len(shown)), blur_faces=blur_faces)
    return {names[shown[place]]: film for place, film in films.items()}


def _measured_on(gallery: Gallery, rule: Decision) -> str:
    """Return what the threshold was measured on."""
    if rule.protocol == OWN_FOOTAGE:
        return f"{rule.pairs} pairs of this gallery seen at the same time, by `vreid calibrate`"
    dataset = gallery.about.get("dataset")
    return f"{dataset}, protocol {rule.protocol}" if dataset else f"the model's test set, protocol {rule.protocol}"


def _caution(gallery: Gallery, rule: Decision | None) -> str:
    """Return what the reader must know before trusting the page."""
    if rule is None:
        return (
            "The page shows an order, nearest first, and does not say who is the same person: "
            f"{undecided(gallery.about)}. {OWN_THRESHOLD} {CALIBRATE}"
        )
    if rule.protocol == OWN_FOOTAGE:
        return (
            f"The threshold was measured on {_measured_on(gallery, rule)}. Treat tracklets within it as candidates, not as the "
            "same person."
        )
    return (
        f"The threshold was measured on {_measured_on(gallery, rule)}; on video of another kind it may be off. Treat "
        "tracklets within it as candidates, not as the same person."
    )


def _facts(gallery: Gallery, rule: Decision | None) -> Markup:
    """Return a table of what the gallery is and how its threshold was measured."""
    about = gallery.about
    rows = [
        ["made from", last_part(str(about["input"])) or ""],
        ["model", f"{about['model']} {about['fingerprint']}"],
        ["tracklets", str(len(gallery))],
        ["cameras", ", ".join(str(each) if each > 0 else "unknown" for each in np.unique(gallery.columns["camid"]))],
        ["distance", str(about["metric"])],
    ]
    if rule is None:
        rows.append(["same person", f"not decided: {undecided(gallery.about)}"])
    else:
        rows.append(["within the threshold", f"up to {rule.threshold:.4g}"])
        if rule.perhaps is not None:
            rows.append(["perhaps the same person", f"up to {rule.perhaps:.4g}"])
        rows.append(["measured on", _measured_on(gallery, rule)])
        rows.append(["different-person pairs within it", f"{100 * rule.false_accept_rate:g} %"])
        if rule.true_accept_rate is not None:
            rows.append(["same-person pairs within it", f"{100 * rule.true_accept_rate:.1f} %"])
    return table(["", ""], rows)


def _list_row(query: dict, matches: list[Match], rule: Decision | None, addresses: dict[str, str]) -> FilmRow:
    """Return a query, by its columns, with its matches and how many of them are within the threshold."""
    found = [_found(match, rule) for match in matches]
    kind, verdict = "all", ""
    if rule is not None:
        kind = "same" if "within" in found else "none"
        within = len(matches) - found.count("beyond") - found.count("perhaps")
        verdict = f": {within or 'none'} of the nearest {len(matches)} within the threshold"
        if excluded := found.count("same time"):
            verdict += f", {excluded} of them seen at the same time"
    films = [Film("asked", "query", [_when(query)], _who(query), addresses[query["tracklet_id"]])]
    for match, words in zip(matches, found, strict=True):
        style = {"within": "right", "perhaps": "open", "": "open"}.get(words, "wrong")
        lines = [str(match.rank), f"{match.distance:.3g}", _when(match.row)]
        films.append(Film(style, words, lines, _who(match.row), addresses[match.row["tracklet_id"]]))
    return FilmRow(kind, query["camid"], f"{query['tracklet_id']}{verdict}", films)


def _found(match: Match, rule: Decision | None) -> str:
    """Return the word for a match; one within the threshold but seen at the same time is a different person."""
    if rule is None:
        return "" if match.same_person is None else "same time"
    if match.same_person is not False:
        return "within" if match.same_person else "perhaps"
    return "same time" if rule.verdict(match.distance) else "beyond"


def _who(row: Mapping[str, Any]) -> str:
    """Return the name of a tracklet with its person and camera, where they are known."""
    person = f", person {row['pid']}" if row["pid"] > 0 else ""
    camera = f", camera {row['camid']}" if row["camid"] > 0 else ""
    return f"{row['tracklet_id']}{person}{camera}"


def _when(row: Mapping[str, Any]) -> str:
    """Return the seconds of the video that a tracklet spans; empty where they are not known."""
    if math.isnan(row["start_seconds"]):
        return ""
    return f"{row['start_seconds']:.1f}-{row['end_seconds']:.1f} s"
