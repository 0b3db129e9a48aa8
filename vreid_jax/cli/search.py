"""Search a gallery for the person of a query: the nearest tracklets, and which of them are the same person."""

import argparse
import dataclasses
import math
import tempfile
from pathlib import Path

import numpy as np

from vreid_jax.errors import InputError

EXAMPLE = "vreid search gallery.parquet --query=track0017 --false-accept-rate=0.01"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("gallery", help="file that `vreid embed` wrote")
    parser.add_argument(
        "--query",
        required=True,
        help="a tracklet_id of the gallery, another gallery file, a folder of tracklets, or a video",
    )
    parser.add_argument("--model", help="the gallery's model, for a query that is not embedded yet")
    parser.add_argument("--tracks", help="of a query that is a video")
    parser.add_argument("--k", type=int, default=10, help="how many tracklets to find")
    parser.add_argument("--false-accept-rate", type=float, default=0.01, help="of the decision, a fraction")
    parser.add_argument(
        "--other-cameras", action="store_true", help="find only what another camera saw; 0 is an unknown one"
    )
    parser.add_argument("--approximate", action="store_true", help="with a FAISS index beside the gallery, kept there")


def run(flags: argparse.Namespace) -> dict:
    """Search; returns the matches of every query."""
    from vreid_jax.search import gallery as galleries
    from vreid_jax.search import ranked

    about = galleries.read_about(flags.gallery)
    rule = ranked.decision(about, flags.false_accept_rate)
    names, cameras, vectors, input_name = _queries(flags, about)
    # A track of another video may bear the same name: only of the same input is it the query itself.
    own = names if Path(input_name).absolute() == Path(about["input"]).absolute() else [""] * len(names)
    if flags.approximate:
        from vreid_jax.search import faiss_index

        found = faiss_index.find(flags.gallery, vectors, flags.k, flags.false_accept_rate, own, _other(flags, cameras))
    else:
        gallery = galleries.open_gallery(flags.gallery)
        hidden = ranked.left_out(gallery, own, _other(flags, cameras))
        found = ranked.find(gallery, vectors, flags.k, false_accept_rate=flags.false_accept_rate, leave_out=hidden)
    return {
        "gallery": flags.gallery,
        "model": about["model"],
        "fingerprint": about["fingerprint"],
        "metric": about["metric"],
        "decision": None if rule is None else dataclasses.asdict(rule),
        "queries": [
            {"query": name, "matches": [_plain(match) for match in matches]}
            for name, matches in zip(names, found, strict=True)
        ],
    }


def _other(flags: argparse.Namespace, cameras: np.ndarray) -> np.ndarray | None:
    return cameras if flags.other_cameras else None


def _plain(match) -> dict:
    row = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in match.row.items()}
    return {"rank": match.rank, "distance": match.distance, "same_person": match.same_person, **row}


def text(outcome: dict) -> str:
    """A table for each query."""
    rule = outcome["decision"]
    lines = [f"{outcome['gallery']}, {outcome['metric']} distance of {outcome['model']} {outcome['fingerprint']}"]
    if rule:
        lines.append(
            f"the same person up to {rule['threshold']:.4g}: of pairs of two persons {100 * rule['false_accept_rate']:g} "
            f"% pass, of one person {100 * rule['true_accept_rate']:.1f} %, measured by protocol {rule['protocol']}"
        )
    else:
        lines.append("no decision: the model was not evaluated, so that no threshold is known")
    words = {True: "same", False: "other", None: "?"}
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
            lines.append(
                f"{match['rank']:>6}{match['distance']:>10.4f}  {words[match['same_person']]:7}{match['camid']:>7}"
                f"{span:>16}  {match['tracklet_id']}"
            )
    return "\n".join(lines)


def _queries(flags: argparse.Namespace, about: dict) -> tuple[list[str], np.ndarray, np.ndarray, str]:
    """Names, cameras and vectors of the queries, and what they were made from."""
    from vreid_jax.search import gallery as galleries
    from vreid_jax.search import ranked

    path = Path(flags.query).expanduser()
    if path.suffix == ".parquet":
        _refuse_flags_of_new_queries(flags, "a gallery")
        other = galleries.open_gallery(path)
        ranked.check_fingerprint(about, other.about["fingerprint"], flags.gallery)
        return other.columns["tracklet_id"].tolist(), other.columns["camid"], other.vectors, other.about["input"]
    if path.exists():
        if not flags.model:
            raise InputError(f"the query {path} is not embedded yet: give --model, the one that made the gallery")
        return _embedded(flags, about)
    gallery = galleries.open_gallery(flags.gallery)
    rows = np.flatnonzero(gallery.columns["tracklet_id"] == flags.query)
    if not len(rows):
        some = ", ".join(gallery.columns["tracklet_id"][:3].tolist())
        raise InputError(
            f"--query={flags.query} is no tracklet of {flags.gallery} (it has {some}, …) and no file or folder"
        )
    _refuse_flags_of_new_queries(flags, f"a tracklet of {flags.gallery}")
    return [flags.query], gallery.columns["camid"][rows[:1]], gallery.vectors[rows[:1]], about["input"]


def _refuse_flags_of_new_queries(flags: argparse.Namespace, what: str) -> None:
    for name in ("model", "tracks"):
        if value := getattr(flags, name):
            raise InputError(f"--{name}={value} is of a query that is not embedded yet, and {flags.query} is {what}")


def _embedded(flags: argparse.Namespace, about: dict) -> tuple[list[str], np.ndarray, np.ndarray, str]:
    from vreid_jax import inference
    from vreid_jax.search import open_source, ranked

    model = inference.load(flags.model)
    ranked.check_fingerprint(about, model.fingerprint, flags.gallery)
    with tempfile.TemporaryDirectory() as scratch:
        source = open_source(flags.query, tracks=flags.tracks, frames=Path(scratch) / "frames")
        vectors = model.embed_tracklets(source.tracklets)
        return source.tracklets.tracklet_ids.tolist(), source.tracklets.camids, vectors, source.name
