"""Embed the videos of a manifest into a folder of Parquet files, on this machine or a Ray cluster."""

import argparse
import dataclasses
import functools
import os

from vreid_jax.cli import chosen_model
from vreid_jax.cli.numbers import whole
from vreid_jax.files import given_path

EXAMPLE = """vreid archive embed cameras.csv --out=archive
  vreid archive embed cameras.parquet --out=s3://bucket/archive --address=auto"""
INTERRUPTED = "interrupted; what is finished stays, run the same command again to go on"
_SHOWN = 20  # failures in the text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("manifest", help="CSV or Parquet with the columns video, camera, start and, if any, tracks")
    parser.add_argument("--out", required=True, help="folder, s3://… or gs://…; what is finished there is not repeated")
    parser.add_argument("--model", help=chosen_model.HELP)
    parser.add_argument(
        "--detector", default="hog", help="of videos without tracks; default: hog (see `vreid track --help`)"
    )
    parser.add_argument(
        "--part-frames", type=whole, default=0,
        help="divide a video with tracks into parts of the tracks that begin in so many frames; default: whole videos",
    )  # fmt: skip
    parser.add_argument(
        "--pictures", default="", help="folder that every machine sees, where pictures of the tracks stay"
    )
    parser.add_argument("--retention-days", type=whole, help="how long the parts may be kept; noted in them")
    parser.add_argument("--retry-failed", action="store_true", help="try again what an earlier run has set aside")
    parser.add_argument(
        "--address", default="", help="of a Ray cluster, HOST:6379 or auto; default: this machine alone"
    )
    parser.add_argument("--device", default="", help="cpu, gpu or tpu; default: the best that there is")
    parser.add_argument("--workers", type=whole, default=0, help="parts made at once; default: one a device, or a core")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(flags: argparse.Namespace) -> dict:
    """Embed; return the counts, and what was set aside."""
    import jax

    from vreid_jax.archives import engine
    from vreid_jax.archives.embedding import embed_archive
    from vreid_jax.archives.parts import ArchiveSettings

    engine.installed()
    machines = engine.Machines(flags.address, flags.device, flags.workers)
    # Workers may have another folder.
    pictures = os.path.abspath(given_path(flags.pictures)) if flags.pictures else ""
    name, _, file = flags.detector.partition(":")
    detector = f"{name}:{os.path.abspath(file)}" if os.path.isfile(file) else flags.detector
    settings = ArchiveSettings(detector, flags.part_frames, flags.retention_days, pictures)
    jax.config.update("jax_platforms", "cpu")  # the devices are the workers'; this process only reads the model
    model = chosen_model.load_chosen(flags.model)
    done = embed_archive(
        flags.manifest,
        flags.out,
        model,
        functools.partial(_make, model=model, settings=settings, machines=machines),
        settings,
        retry_failed=flags.retry_failed,
        progress=not flags.quiet,
    )
    return {"out": flags.out, "model": model.name, "fingerprint": model.fingerprint, **dataclasses.asdict(done)}


def _make(parts, store, *, model, settings, machines):
    from vreid_jax.archives.engine import make_on_ray

    return make_on_ray(parts, model, store, settings, machines)


def incomplete(outcome: dict) -> bool:
    """Return whether a video of the manifest is not in the archive, for which the exit code is 1."""
    return bool(outcome["failed"])


def text(outcome: dict) -> str:
    """Return the counts, and a line for each video that was set aside."""
    before = f", {outcome['before']} were there before" if outcome["before"] else ""
    empty = f", {outcome['empty']} have nobody" if outcome["empty"] else ""
    lines = [
        f"{outcome['out']}: {outcome['videos']} videos; {outcome['parts']} parts of {outcome['tracklets']} tracklets{before}{empty}, "
        f"by {outcome['model']} {outcome['fingerprint']}"
    ]
    failed = outcome["failed"]
    lines += [f"set aside: {each['video']}: {each['why']}" for each in failed[:_SHOWN]]
    if len(failed) > _SHOWN:
        lines.append(f"… and {len(failed) - _SHOWN} more: {outcome['out']}/_failed")
    return "\n".join(lines)
