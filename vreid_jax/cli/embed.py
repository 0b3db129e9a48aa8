"""Embed a dataset, folders of tracklets, or a video into a gallery file that can be searched."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vreid_jax.cli import chosen_model
from vreid_jax.cli.numbers import whole
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file, given_path, read_regular
from vreid_jax.json_files import json_or_none

if TYPE_CHECKING:
    from vreid_jax.inference import Model

EXAMPLE = """vreid embed vtest.avi --out=gallery.parquet
  vreid embed vtest.avi --tracks=vtest_tracks.txt --out=gallery.parquet
  vreid embed walkers/small --model=runs/m3d-walkers --out=walkers.parquet"""
INTERRUPTED = "interrupted; run the same command again to resume it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("input", help="a built dataset (walkers/small), a folder of tracklet folders, or a video")
    parser.add_argument("--model", help=chosen_model.HELP)
    parser.add_argument(
        "--out", required=True, help="file to write, .parquet; an interrupted command goes on after its finished parts"
    )
    parser.add_argument(
        "--tracks", help="of a video: lines frame,id,x,y,w,h,confidence,-1,-1,-1, frames from 1; default: it is tracked"
    )
    parser.add_argument("--detector", help="of a video without --tracks; default: hog (see `vreid track --help`)")
    parser.add_argument("--frames", help="of a video: folder for the pictures of its tracks; default: beside --out")
    parser.add_argument("--camera", type=whole, default=0, help="of tracklets whose folder names none, and of a video")
    parser.add_argument(
        "--start", help="of a video: when its first frame was taken, ISO 8601 with zone, or seconds since 1970"
    )
    parser.add_argument("--retention-days", type=whole, help="how long the gallery may be kept; noted in it")
    parser.add_argument("--split", default="", help="of a dataset; default: all of its test tracklets")
    parser.add_argument("--data-dir", help="where datasets are built; default: $TFDS_DATA_DIR or ~/tensorflow_datasets")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(flags: argparse.Namespace) -> dict:
    """Embed; return what was written."""
    from vreid_jax.runtime import processes
    from vreid_jax.search import embed_gallery, open_source
    from vreid_jax.search.embedding import check_out
    from vreid_jax.search.gallery import MOST_DAYS, is_retention
    from vreid_jax.search.recording import moment_text
    from vreid_jax.search.sources import check_camera, is_video
    from vreid_jax.tracking.streams import open_stream

    out = check_out(flags.out)
    check_camera(flags.camera)
    recorded_at = moment_text(flags.start) if flags.start is not None else None
    if recorded_at and not is_video(flags.input):
        raise InputError(f"--start={flags.start} applies to a video, and {flags.input} is not a video")
    if flags.detector and (flags.tracks or not is_video(flags.input)):
        raise InputError(f"--detector={flags.detector} is for a video without tracks: leave it away")
    if flags.retention_days is not None and not is_retention(flags.retention_days):
        raise InputError(f"--retention-days={flags.retention_days} must be from 1 to {MOST_DAYS}")
    if is_video(flags.input) and not flags.tracks:
        with open_stream(flags.input):  # what is wrong is said before a model is loaded
            pass
    processes.join_from_environment()
    model = chosen_model.load_chosen(flags.model)
    tracks = flags.tracks
    if not tracks and is_video(flags.input):
        tracks = str(_track_first(flags, model, out.with_suffix(".tracks.txt")))
    source = open_source(
        flags.input,
        tracks=tracks,
        frames=flags.frames or (out.with_suffix(".frames") if tracks else None),
        camera=flags.camera,
        data_dir=flags.data_dir,
        split=flags.split,
        progress=not flags.quiet,
    )
    done = embed_gallery(
        model,
        source,
        out,
        recorded_at=recorded_at,
        retention_days=flags.retention_days,
        progress=not flags.quiet,
    )
    return {"out": str(out), "model": model.name, "fingerprint": model.fingerprint, **dataclasses.asdict(done)}


def _track_first(flags: argparse.Namespace, model: Model, tracks: Path) -> Path:
    """Write the tracks of a video beside its gallery, unless an earlier start did; return their file.

    A small file beside them notes the video and the detector, by which those of another video are refused.
    """
    import jax

    from vreid_jax.tracking import track_video
    from vreid_jax.tracking.run import video_stamp

    if jax.process_count() > 1:
        raise InputError(f"{flags.input} is tracked by one process: do so with `vreid track`, and give --tracks")
    detector = flags.detector or "hog"
    made_of = {"video": video_stamp(Path(given_path(flags.input))), "detector": detector}
    record = tracks.with_suffix(".json")
    known = json_or_none(read_regular(record)) if record.exists() else None
    begun = known is not None and tracks.with_name(f"{tracks.name}.parts").exists()
    if known != made_of and (tracks.exists() or begun):
        raise InputError(
            f"{tracks} was not made from {flags.input} by {detector}, or it is not known from what: remove it to track "
            "again, or name it with --tracks if it is right"
        )
    if tracks.exists():
        print(f"tracks: those of an earlier start, {tracks}; remove it to track again", file=sys.stderr, flush=True)
        return tracks
    print(f"tracks: {flags.input} is tracked first; they are kept in {tracks}", file=sys.stderr, flush=True)
    with atomic_file(record) as half:  # before the tracks, which may be interrupted
        half.write_text(json.dumps(made_of))
    try:
        track_video(flags.input, tracks, detector=detector, model=model, progress=not flags.quiet)
    except InputError:
        if not tracks.exists() and not tracks.with_name(f"{tracks.name}.parts").exists():
            record.unlink(missing_ok=True)  # it is a note on nothing
        raise
    return tracks


def text(outcome: dict) -> str:
    """Return one line."""
    earlier = f", {outcome['resumed']} of them by an earlier start" if outcome["resumed"] else ""
    return (
        f"{outcome['out']}: {outcome['tracklets']} tracklets in {outcome['dimensions']} dimensions{earlier}, "
        f"by {outcome['model']} {outcome['fingerprint']}"
    )
