"""Adapt a model, without labels, to the cameras of a video or of galleries; write a model file and its card."""

import argparse
import contextlib
import dataclasses
import math
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from vreid_jax.cli import chosen_model
from vreid_jax.cli.numbers import whole
from vreid_jax.errors import InputError, Interrupted
from vreid_jax.files import given_path

EXAMPLE = """vreid adapt vtest.avi --tracks=vtest_tracks.txt --out=adapted.safetensors
  vreid adapt north.parquet south.parquet --model=runs/m3d-walkers --out=adapted.safetensors"""
INTERRUPTED = "interrupted; nothing was written"
NO_SYNTHETIC = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a video, galleries (.parquet, or folders of them) whose pictures are still there, a folder of tracklet folders, or a dataset",
    )
    parser.add_argument("--model", help=chosen_model.HELP)
    parser.add_argument("--out", required=True, help="model file to write, .safetensors, with its card (.md) beside it")
    parser.add_argument("--tracks", help="of a video: lines frame,id,x,y,w,h,confidence,-1,-1,-1, frames from 1")
    parser.add_argument("--frames", help="of a video: folder for the pictures of its tracks; default: beside --out")
    parser.add_argument("--camera", type=whole, default=0, help="of tracklets whose folder names none, and of a video")
    parser.add_argument("--data-dir", help="where datasets are built; default: $TFDS_DATA_DIR or ~/tensorflow_datasets")
    parser.add_argument(
        "--synthetic",
        default="walkers/wild",
        help="dataset whose training split is mixed in, so that nothing is forgotten; default: walkers/wild, drawn on the "
        f"spot; {NO_SYNTHETIC}: without",
    )
    parser.add_argument("--rounds", type=whole, help="at most, of linking tracks and training; default: 3")
    parser.add_argument("--steps", type=whole, help="in a round; default: 40")
    parser.add_argument(
        "--seed", type=whole, default=0, help="of everything that is drawn: the same gives the same model"
    )
    parser.add_argument("--licence", default="", help="of the new file; default: that of --model")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(flags: argparse.Namespace) -> dict:
    """Adapt and write; return what was done."""
    from vreid_jax import adaptation
    from vreid_jax.model_files.model_card import card_path
    from vreid_jax.model_files.weights_file import check_target

    out = given_path(flags.out)
    check_target(out)
    for path in (out, card_path(out)):
        if given_path(path).exists():
            raise InputError(f"{path} is there already: name another file, or remove it")
    if not os.access(out.absolute().parent, os.W_OK | os.X_OK):
        raise InputError(f"the folder of {out} cannot be written to: name another one")
    chosen = {name: value for name in ("rounds", "steps") if (value := getattr(flags, name)) is not None}
    settings = adaptation.AdaptationSettings(seed=flags.seed, **chosen)
    model = chosen_model.load_chosen(flags.model)
    frames = given_path(flags.frames) if flags.frames else out.with_suffix(".frames") if flags.tracks else None
    with _removed_unless_written(frames, out):
        return _adapt(flags, model, settings, frames, out)


def _adapt(flags: argparse.Namespace, model, settings, frames: Path | None, out: Path) -> dict:
    """Open the footage, adapt the model to it and write `out`; return what was done."""
    from vreid_jax import adaptation, inference
    from vreid_jax.model_files.model_card import write_card
    from vreid_jax.training.signals import StopRequest, stop_requests

    stop = StopRequest()
    with contextlib.ExitStack() as stack:
        footage = adaptation.open_footage(
            flags.inputs,
            tracks=flags.tracks,
            frames=None if frames is None else str(frames),
            camera=flags.camera,
            data_dir=flags.data_dir,
            progress=not flags.quiet,
        )
        synthetic = None
        if flags.synthetic != NO_SYNTHETIC:
            synthetic = adaptation.open_synthetic(flags.synthetic, flags.data_dir, progress=not flags.quiet)

        def tell(done):
            if not done.number:  # until now there was nothing to keep, so that a signal ended it at once
                stack.enter_context(stop_requests(stop))
            if not flags.quiet:
                _say(done)

        done = adaptation.adapt(
            model, footage, settings, synthetic=synthetic, stop=stop, progress=not flags.quiet, tell=tell
        )
    if not done.best:
        if done.interrupted:
            raise Interrupted(INTERRUPTED, stop.number)
        raise RuntimeError(
            "the first round tells the tracks that were held back apart clearly worse than the model does as it is, so "
            "nothing was written: use the model itself, or film for longer"
        )
    about = {
        "footage": list(footage.names),
        "tracks": done.tracks,
        "held_back": done.held_back,
        "certainly_different_pairs": done.certain,
        "synthetic": None if flags.synthetic == NO_SYNTHETIC else flags.synthetic,
        "from_model": model.name,
        "from_fingerprint": model.fingerprint,
        "seed": flags.seed,
        "best_round": done.best,
        "score_before": done.rounds[0].score,
        "score": done.rounds[done.best].score,
    }
    inference.save(inference.adapted(done.model, about), out, flags.licence)
    write_card(out)
    if done.interrupted:
        raise Interrupted(f"interrupted; {out} is the model so far, of round {done.best}", stop.number)
    rounds = [
        {**dataclasses.asdict(each), "loss": None if math.isnan(each.loss) else each.loss} for each in done.rounds
    ]
    return {"out": str(out), "model": done.model.name, "fingerprint": done.model.fingerprint, **about, "rounds": rounds}


def text(outcome: dict) -> str:
    """Return one line."""
    return (
        f"{outcome['out']}: {outcome['model']} {outcome['fingerprint']}, adapted to {outcome['tracks']} tracks of "
        f"{', '.join(outcome['footage'])}; score on {outcome['held_back']} tracks held back: "
        f"{outcome['score_before']:.3f} before, {outcome['score']:.3f} after round {outcome['best_round']}"
    )


def _say(done) -> None:
    """Print one line about a round."""
    what = f"round {done.number}" if done.number else "the model as it is"
    loss = "" if math.isnan(done.loss) else f"{done.people} people, loss {done.loss:.3f}, "
    print(f"{what}: {loss}score on the tracks held back {done.score:.3f}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _removed_unless_written(frames: Path | None, out: Path) -> Iterator[None]:
    """Remove the pictures that were cut out of a video, if the block ends without the model they were cut for."""
    new = [] if frames is None else [path for path in (frames, *frames.parents) if not path.exists()]
    try:
        yield
    finally:
        if not out.exists():
            for path in new[:1]:
                shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):  # somebody else uses a folder above it
                for path in new[1:]:
                    path.rmdir()
