"""Find and follow the people in a video, or before a camera, and write their boxes as MOTChallenge text."""

import argparse
import dataclasses

from vreid_jax.cli import chosen_model
from vreid_jax.cli.numbers import whole
from vreid_jax.errors import InputError

EXAMPLE = """vreid track vtest.avi --out=tracks.txt --preview=tracks.webm
  vreid track 0 --out=tracks.txt --record=door.webm
  vreid track rtsp://user:word@10.0.0.7/1 --out=tracks.txt --detector=onnx:yolox_s.onnx"""
INTERRUPTED = "interrupted; nothing was written"
DETECTORS = (
    "hog (default; comes with OpenCV), onnx:FILE (YOLOX, YOLOv8 and later, RT-DETR, RF-DETR), or of a library that is "
    "installed torchvision, rfdetr, ultralytics:WEIGHTS"
)
NO_MODEL = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("video", help="a video file, the number of a camera (0), or the address of a stream (rtsp://…)")
    parser.add_argument("--out", required=True, help="file to write: lines frame,id,x,y,w,h,confidence,-1,-1,-1")
    parser.add_argument("--detector", default="hog", help=DETECTORS)
    parser.add_argument("--model", help=f"tells people apart who were hidden: {chosen_model.HELP}; {NO_MODEL}: without")
    parser.add_argument("--preview", help="video with boxes to write: .webm (opens in browsers), .mp4 or .avi (faster)")
    parser.add_argument(
        "--record", help="of a camera or a stream: video of what was watched, for `vreid embed --tracks`"
    )
    parser.add_argument("--frames", type=whole, default=0, help="stop after so many; default: at the end, or at Ctrl-C")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(flags: argparse.Namespace) -> dict:
    """Track; return what was written."""
    from vreid_jax.tracking import make_detector, track_video
    from vreid_jax.tracking.run import check_outputs, check_recording
    from vreid_jax.tracking.streams import open_stream

    if flags.frames < 0:
        raise InputError(f"--frames={flags.frames} must not be negative")
    check_outputs(flags.out, flags.preview, flags.record)
    make_detector(flags.detector)  # what is wrong is said before a model is loaded
    with open_stream(flags.video) as stream:
        check_recording(stream, flags.preview, flags.record)
    done = track_video(
        flags.video,
        flags.out,
        detector=flags.detector,
        model=None if flags.model == NO_MODEL else chosen_model.load_chosen(flags.model),
        preview=flags.preview,
        record=flags.record,
        most_frames=flags.frames,
        progress=not flags.quiet,
    )
    return {"out": flags.out, "detector": flags.detector, **dataclasses.asdict(done)}


def text(outcome: dict) -> str:
    """Return one line."""
    earlier = f", {outcome['resumed']} of them by an earlier start" if outcome["resumed"] else ""
    return (
        f"{outcome['out']}: {outcome['tracks']} tracks, {outcome['boxes']} boxes in {outcome['frames']} frames{earlier}, "
        f"by {outcome['detector']} at {outcome['frames_per_second']:g} frames/s"
    )
