"""Search a gallery for the person of a query: the nearest tracklets, and which of them are the same person."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vreid_jax.cli.numbers import decimal, whole
from vreid_jax.errors import InputError
from vreid_jax.files import given_path

if TYPE_CHECKING:
    from vreid_jax.search import Gallery

EXAMPLE = "vreid search gallery.parquet --query=track0017 --false-accept-rate=0.01"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("gallery", help="file that `vreid embed` wrote")
    parser.add_argument(
        "--query",
        required=True,
        help="a tracklet_id of the gallery, another gallery file, a folder of tracklets, or a video",
    )
    parser.add_argument(
        "--model",
        help="of the gallery, for a query that is not embedded yet; default: the model in the box, if it made the gallery",
    )
    parser.add_argument("--tracks", help="of a query that is a video")
    parser.add_argument("--k", type=whole, default=10, help="how many tracklets to find")
    parser.add_argument("--false-accept-rate", type=decimal, default=0.01, help="of the decision, a fraction")
    parser.add_argument(
        "--other-cameras", action="store_true", help="find only what another camera saw; 0 is an unknown one"
    )
    parser.add_argument("--approximate", action="store_true", help="with a FAISS index beside the gallery, kept there")


def run(flags: argparse.Namespace) -> dict:
    """Search; return the matches of every query."""
    import numpy as np

    from vreid_jax.search import gallery as galleries
    from vreid_jax.search import ranked

    about = galleries.read_about(flags.gallery)
    rule = ranked.decision(about, flags.false_accept_rate)
    if flags.other_cameras:
        ranked.check_cameras(galleries.read_column(flags.gallery, "camid"), flags.gallery)
    queries, path = _queries(flags, about)
    names, vectors = queries.columns["tracklet_id"].tolist(), queries.vectors
    cameras = queries.columns["camid"] if flags.other_cameras else None
    own, times = names, np.stack([queries.columns[key] for key in ("start_seconds", "end_seconds")], 1)
    # A track of another video may bear the same name, and walk at the same time: only of the same input that counts.
    if not _same_input(flags.gallery, about, queries, path):
        own, times = [""] * len(names), np.full_like(times, np.nan)
    if flags.approximate:
        from vreid_jax.search import faiss_index

        found = faiss_index.find(flags.gallery, vectors, flags.k, flags.false_accept_rate, own, cameras, times)
    else:
        gallery = galleries.open_gallery(flags.gallery)
        found = ranked.find(
            gallery,
            vectors,
            flags.k,
            false_accept_rate=flags.false_accept_rate,
            leave_out=ranked.left_out(gallery, own, cameras),
            apart=ranked.at_once(gallery, times),
        )
    return {
        "gallery": flags.gallery,
        "model": about["model"],
        "fingerprint": about["fingerprint"],
        "metric": about["metric"],
        "decision": None if rule is None else dataclasses.asdict(rule),
        "undecided": ranked.undecided(about),
        "queries": [
            {"query": name, "matches": [_plain(match) for match in matches]}
            for name, matches in zip(names, found, strict=True)
        ],
    }


def _plain(match) -> dict:
    row = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in match.row.items()}
    return {"rank": match.rank, "distance": match.distance, "same_person": match.same_person, **row}


def text(outcome: dict) -> str:
    """Return a table for each query."""
    from vreid_jax.search.ranked import CALIBRATE, OWN_THRESHOLD

    rule = outcome["decision"]
    lines = [f"{outcome['gallery']}, {outcome['metric']} distance of {outcome['model']} {outcome['fingerprint']}"]
    if rule and rule["pairs"]:
        lines.append(_calibrated(rule))
    elif rule:
        lines.append(
            f"the same person up to {rule['threshold']:.4g}: of pairs of two persons {100 * rule['false_accept_rate']:g} "
            f"% pass, of one person {100 * rule['true_accept_rate']:.1f} %, measured on "
            f"{rule['dataset'] or 'the test set of the model'} by protocol {rule['protocol']}: in pictures of another "
            "kind it may be off"
        )
    else:
        lines.append(f"no decision, only an order, nearest first: {outcome['undecided']}. {OWN_THRESHOLD} {CALIBRATE}")
    words = {True: "same", False: "other", None: "perhaps" if rule else "?"}
    for query in outcome["queries"]:
        lines += [
            "",
            f"query {query['query']}",
            f"{'':>6}{'distance':>10}  {'person':7}{'camera':>7}{'frames':>16}  tracklet",
        ]
        for match in query["matches"]:
            span = (
                f"{match['first_frame']} to {match['last_frame']}" if match["first_frame"] >= 0 else match["num_frames"]
            )
            near = rule is None or match["distance"] <= (rule["perhaps"] or rule["threshold"])
            reason = ", seen at the same time" if near and match["same_person"] is False else ""
            lines.append(
                f"{match['rank']:>6}{match['distance']:>10.4f}  {words[match['same_person']]:7}{match['camid']:>7}"
                f"{span:>16}  {match['tracklet_id']}{reason}"
            )
        if not query["matches"]:
            lines.append("      nothing else is in the gallery to compare it with")
    return "\n".join(lines)


def _calibrated(rule: dict) -> str:
    """Return what the thresholds of a calibrated gallery are."""
    low, high = rule["interval"]
    accepted = rule["true_accept_rate"]
    of_one = "" if accepted is None else f", of one person about {100 * accepted:.0f} % or fewer"
    return (
        f"the same person up to {low:.4g}, perhaps up to {rule['perhaps']:.4g}: of pairs of two persons "
        f"{100 * rule['false_accept_rate']:g} % pass{of_one}, measured by `vreid calibrate` on {rule['pairs']} pairs of this "
        f"footage seen at the same time (95 % interval {low:.4g} to {high:.4g})"
    )


def _same_input(gallery: str, about: dict, queries: Gallery, path: Path | None) -> bool:
    """Return whether queries, of the gallery at `path` or of none, were made from what a gallery was made from."""
    from vreid_jax.search.gallery import made_from, read_column

    if path and os.path.realpath(path) == os.path.realpath(given_path(gallery)):
        return True
    own = made_from(about, read_column(gallery, "folder"), gallery)
    return own == made_from(queries.about, queries.columns["folder"], path)


def _queries(flags: argparse.Namespace, about: dict) -> tuple[Gallery, Path | None]:
    """Return the queries: vectors, the columns that a search looks at, and the input; and the gallery that they are from.

    What could be either is a tracklet of the gallery, unless there is a model to embed it with.
    """
    import numpy as np

    from vreid_jax.inference.box import box_fingerprint
    from vreid_jax.search import gallery as galleries
    from vreid_jax.search import ranked

    if not flags.query:
        raise InputError("--query is empty: give a tracklet of the gallery, a gallery, a folder, or a video")
    path = _path_of(flags.query)
    if path and path.suffix == ".parquet":
        _refuse_flags_of_new_queries(flags, "a gallery")
        other = galleries.open_gallery(path)
        ranked.check_fingerprint(about, other.about["fingerprint"], flags.gallery)
        return other, path
    if path and flags.model is not None:
        return _embedded(flags, about), None
    names = galleries.read_column(flags.gallery, "tracklet_id")
    rows = np.flatnonzero(names == flags.query)
    if not len(rows) and path:
        if box_fingerprint() == about["fingerprint"]:
            return _embedded(flags, about), None
        raise InputError(f"the query {path} is not embedded yet: give --model, the one that made the gallery")
    if not len(rows):
        some = ", ".join(names[:3].tolist())
        raise InputError(
            f"--query={flags.query} is not a tracklet of {flags.gallery} (it has {some}, …) and not a file or folder"
        )
    _refuse_flags_of_new_queries(flags, f"a tracklet of {flags.gallery}")
    return galleries.read_rows(flags.gallery, rows[:1]), given_path(flags.gallery)


def _path_of(query: str) -> Path | None:
    """Return the path of a query, or None where nothing is there, as is usual for the name of a tracklet."""
    try:
        path = given_path(query)
    except InputError:  # a name that cannot be a path, such as `~a`
        return None
    return path if path.exists() or path.suffix == ".parquet" else None


def _refuse_flags_of_new_queries(flags: argparse.Namespace, what: str) -> None:
    for name in ("model", "tracks"):
        if value := getattr(flags, name):
            raise InputError(f"--{name}={value} is of a query that is not embedded yet, and {flags.query} is {what}")


def _embedded(flags: argparse.Namespace, about: dict) -> Gallery:
    from vreid_jax.cli.chosen_model import load_chosen
    from vreid_jax.search import Gallery, open_source, ranked
    from vreid_jax.search.embedding import embed_finite

    model = load_chosen(flags.model)
    ranked.check_fingerprint(about, model.fingerprint, flags.gallery)
    with tempfile.TemporaryDirectory() as scratch:
        frames = Path(scratch) / "frames" if flags.tracks else None
        source = open_source(flags.query, tracks=flags.tracks, frames=frames)
        start, end = source.times.T
        columns = {
            "tracklet_id": source.tracklets.tracklet_ids,
            "camid": source.tracklets.camids,
            "start_seconds": start,
            "end_seconds": end,
            "folder": source.folders,
        }
        return Gallery(embed_finite(model, source.tracklets), columns, {"input": source.name})
