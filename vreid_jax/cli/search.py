"""Search a gallery for the person of a query: the nearest tracklets, and which of them are the same person."""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vreid_jax.cli.numbers import decimal, whole
from vreid_jax.errors import InputError
from vreid_jax.files import given_path

if TYPE_CHECKING:
    from vreid_jax.archives.database import Database
    from vreid_jax.archives.question import Filters, Queries
    from vreid_jax.search.gallery_files import GalleryFiles

EXAMPLE = """vreid search gallery.parquet --query=track0017 --false-accept-rate=0.01
  vreid search archive --query=person.parquet --camera=3 --from=2026-03-02T09:00:00+01:00
  vreid search s3://bucket/town.lance --query=person.parquet"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "gallery",
        help="file that `vreid embed` wrote, a folder or address of such files, or a database of `vreid push` (.lance)",
    )
    parser.add_argument(
        "--query",
        required=True,
        help="a tracklet_id of the gallery, another gallery, a folder of tracklets, or a video",
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
    parser.add_argument("--camera", type=whole, action="append", default=[], help="find only in this one; repeatable")
    parser.add_argument(
        "--from", dest="since", help="find only who was seen at or after this moment, ISO 8601 with a zone"
    )
    parser.add_argument("--to", dest="until", help="find only who was seen at or before this moment")
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="with an index beside the gallery, kept there; a database has its own",
    )
    parser.add_argument("--exact", action="store_true", help="of a database: compute every distance")


def run(flags: argparse.Namespace) -> dict:
    """Search; return the matches of every query."""
    from vreid_jax.archives import approximate, beside, streaming
    from vreid_jax.archives.database import Database, is_database, open_database
    from vreid_jax.search import ranked
    from vreid_jax.search.gallery_files import open_files

    archive = open_database(flags.gallery) if is_database(flags.gallery) else open_files(flags.gallery)
    about = archive.about
    rule = ranked.decision(about, flags.false_accept_rate)
    filters = _filters(flags, archive)
    queries = _queries(flags, archive)
    if not flags.other_cameras:
        queries = dataclasses.replace(queries, cameras=None)
    wanted: dict = {"filters": filters, "false_accept_rate": flags.false_accept_rate}
    recall = None
    if isinstance(archive, Database):
        found = approximate.find(archive, queries, flags.k, exact=flags.exact, **wanted)
        recall = None if flags.exact else approximate.stated(archive)
    elif flags.approximate:
        index = beside.index_of(archive)
        found = approximate.find(index, queries, flags.k, about=about, in_folder=archive.is_folder, **wanted)
        recall = approximate.stated(index)
    else:
        found = streaming.find(archive, queries, flags.k, mesh=_mesh(), **wanted)
    names = _shown(queries, archive)
    return {
        "gallery": flags.gallery,
        "model": about["model"],
        "fingerprint": about["fingerprint"],
        "metric": about["metric"],
        "decision": None if rule is None else dataclasses.asdict(rule),
        "undecided": ranked.undecided(about),
        "recall": None if recall is None else dataclasses.asdict(recall),
        "queries": [
            {"query": name, "matches": [_plain(match) for match in matches]}
            for name, matches in zip(names, found, strict=True)
        ],
    }


def _mesh():
    """Return the devices of this process, None where it is one."""
    import jax

    from vreid_jax.runtime.mesh import make_mesh

    devices = jax.local_devices()
    return make_mesh(devices) if len(devices) > 1 else None


def _filters(flags: argparse.Namespace, archive: GalleryFiles | Database) -> Filters:
    """Return which tracklets may be found; `InputError` where the archive does not say when or by which camera."""
    from datetime import datetime

    from vreid_jax.archives.question import Filters
    from vreid_jax.search import ranked
    from vreid_jax.search.gallery_files import GalleryFiles
    from vreid_jax.search.recording import moment_text

    moments = [
        datetime.fromisoformat(moment_text(text, name)).timestamp() if text is not None else None
        for name, text in (("--from", flags.since), ("--to", flags.until))
    ]
    filters = Filters(tuple(flags.camera), *moments)
    if filters.has_time and not archive.says_when:
        raise InputError(
            f"{flags.gallery} does not say when it was recorded, so --from and --to find nothing: embed the video again "
            f"with --start=DATETIME{'' if isinstance(archive, GalleryFiles) else ', and push it'}"
        )
    if flags.other_cameras or flags.camera:
        if isinstance(archive, GalleryFiles):
            ranked.check_cameras(archive.read_column("camid"), flags.gallery)
        elif not archive.count("camid > 0"):
            raise InputError(
                f"every camera of {flags.gallery} is unknown: name the camera with --camera when you embed, and push again"
            )
    return filters


def _shown(queries: Queries, archive: GalleryFiles | Database) -> list[str]:
    """Return the names of queries: as the gallery has them where they are of it."""
    from vreid_jax.search.gallery_files import GalleryFiles, source_of

    if isinstance(archive, GalleryFiles) and not archive.is_folder:
        return list(queries.names)
    return [
        f"{source_of(made, moment)}/{name}"
        for made, moment, name in zip(queries.inputs, queries.recorded_at, queries.names, strict=True)
    ]


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
    if recall := outcome["recall"]:
        lines.append(
            f"approximate: the index finds {100 * recall['share']:.1f} % of the ten nearest, measured on {recall['queries']} "
            "of its tracklets"
        )
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
            lines.append("      nothing else is in the gallery to compare it with, or the filters leave nothing")
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


def _queries(flags: argparse.Namespace, archive: GalleryFiles | Database) -> Queries:
    """Return the queries.

    What could be either is a tracklet of the gallery, unless there is a model to embed it with.
    """
    from vreid_jax.archives.question import of_files
    from vreid_jax.inference.box import box_fingerprint
    from vreid_jax.search import ranked
    from vreid_jax.search.address import holds_galleries, is_address
    from vreid_jax.search.gallery_files import GalleryFiles, open_files

    if not flags.query:
        raise InputError("--query is empty: give a tracklet of the gallery, a gallery, a folder, or a video")
    path, about = _path_of(flags.query), archive.about
    if is_address(flags.query) or (path and holds_galleries(path)):
        _refuse_flags_of_new_queries(flags, "a gallery")
        other = open_files(flags.query)
        ranked.check_fingerprint(about, other.about["fingerprint"], flags.gallery)
        return of_files(other, stated=not isinstance(archive, GalleryFiles) or archive.is_folder)
    if path and flags.model is not None:
        return _embedded(flags, about)
    known = _of_archive(archive, flags.query)
    if known is None and path:
        if box_fingerprint() == about["fingerprint"]:
            return _embedded(flags, about)
        raise InputError(f"the query {path} is not embedded yet: give --model, the one that made the gallery")
    if known is None:
        some = ", ".join(_some_names(archive))
        raise InputError(
            f"--query={flags.query} is not a tracklet of {flags.gallery} (it has {some}, …) and not a file or folder"
        )
    _refuse_flags_of_new_queries(flags, f"a tracklet of {flags.gallery}")
    return known


def _of_archive(archive: GalleryFiles | Database, name: str) -> Queries | None:
    """Return the tracklet of this name, or None."""
    from vreid_jax.archives.approximate import queries_of
    from vreid_jax.archives.question import of_part
    from vreid_jax.search.gallery_files import GalleryFiles

    if isinstance(archive, GalleryFiles):
        found = archive.find(name)
        return None if found is None else of_part(*found, stated=archive.is_folder, own=True)
    rows = archive.row(name).to_pylist()
    return queries_of(rows) if rows else None


def _some_names(archive: GalleryFiles | Database) -> list[str]:
    from vreid_jax.search.gallery_files import GalleryFiles

    if isinstance(archive, GalleryFiles):
        part = archive.parts[0]
        names = GalleryFiles(archive.place, [part], archive.is_folder, archive.about).read_column("tracklet_id")
        return names[:3].tolist()
    return archive.dataset.head(3, columns=["key"]).column("key").to_pylist()


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


def _embedded(flags: argparse.Namespace, about: Mapping[str, Any]) -> Queries:
    from vreid_jax.archives.question import Queries
    from vreid_jax.cli.chosen_model import load_chosen
    from vreid_jax.search import open_source, ranked
    from vreid_jax.search.embedding import embed_finite
    from vreid_jax.search.gallery import made_from

    model = load_chosen(flags.model)
    ranked.check_fingerprint(about, model.fingerprint, flags.gallery)
    with tempfile.TemporaryDirectory() as scratch:
        frames = Path(scratch) / "frames" if flags.tracks else None
        source = open_source(flags.query, tracks=flags.tracks, frames=frames)
        tracklets = source.tracklets
        made, count = made_from({"input": source.name}, source.folders), len(source.folders)
        return Queries(
            embed_finite(model, tracklets),
            tracklets.tracklet_ids.tolist(),
            [made] * count,
            [None] * count,
            source.times,
            tracklets.camids,
            [source.tracks or None] * count,
            source.folders.tolist(),
        )
