"""Embed a dataset, folders of tracklets, or a video with tracks into a gallery file that can be searched."""

import argparse
import dataclasses

from vreid_jax.cli import chosen_model
from vreid_jax.cli.numbers import whole
from vreid_jax.errors import InputError

EXAMPLE = """vreid embed vtest.avi --tracks=vtest_tracks.txt --out=gallery.parquet
  vreid embed walkers/small --model=runs/m3d-walkers --out=walkers.parquet"""
INTERRUPTED = "interrupted; run the same command again to resume it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("input", help="a built dataset (walkers/small), a folder of tracklet folders, or a video")
    parser.add_argument("--model", help=chosen_model.HELP)
    parser.add_argument("--out", required=True, help="file to write, .parquet; finished parts of it are gone on with")
    parser.add_argument("--tracks", help="of a video: lines frame,id,x,y,w,h,confidence,-1,-1,-1, frames from 1")
    parser.add_argument("--frames", help="of a video: folder for the pictures of its tracks; default: beside --out")
    parser.add_argument("--camera", type=whole, default=0, help="of tracklets whose folder names none, and of a video")
    parser.add_argument("--start", help="of a video: when its first frame was taken, ISO 8601 with zone, or in seconds")
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
    from vreid_jax.search.sources import is_video

    out = check_out(flags.out)
    recorded_at = moment_text(flags.start) if flags.start is not None else None
    if recorded_at and not is_video(flags.input):
        raise InputError(f"--start={flags.start} applies to a video, and {flags.input} is not a video")
    if flags.retention_days is not None and not is_retention(flags.retention_days):
        raise InputError(f"--retention-days={flags.retention_days} must be from 1 to {MOST_DAYS}")
    processes.join_from_environment()
    model = chosen_model.load_chosen(flags.model)
    source = open_source(
        flags.input,
        tracks=flags.tracks,
        frames=flags.frames or (out.with_suffix(".frames") if flags.tracks else None),
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


def text(outcome: dict) -> str:
    """Return one line."""
    earlier = f", {outcome['resumed']} of them by an earlier start" if outcome["resumed"] else ""
    return (
        f"{outcome['out']}: {outcome['tracklets']} tracklets in {outcome['dimensions']} dimensions{earlier}, "
        f"by {outcome['model']} {outcome['fingerprint']}"
    )
