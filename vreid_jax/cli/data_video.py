"""Cut tracklets out of a video along MOTChallenge tracks, for the dataset folder."""

import argparse
import re

from vreid_jax.cli.numbers import decimal, whole
from vreid_jax.errors import InputError

EXAMPLE = "vreid data video vtest.avi vtest_tracks.txt people --halves-as-cameras"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("video", help="video file")
    parser.add_argument(
        "tracks", help="lines frame,id,x,y,w,h,confidence,-1,-1,-1, frames from 1; id -1: detections, which are linked"
    )
    parser.add_argument("out", help="folder to make")
    parser.add_argument(
        "--halves-as-cameras",
        action="store_true",
        help="a track's first half is camera 1 and its second half camera 2; needed, as one video is one camera",
    )
    parser.add_argument("--min-length", type=whole, default=8, help="leave shorter tracks out (boxes)")
    parser.add_argument("--resize", help="HEIGHTxWIDTH of the written frames, e.g. 256x128; default: as they are")
    parser.add_argument("--seed", type=whole, default=0, help="which half of the identities is for training")
    parser.add_argument("--link-iou", type=decimal, default=0.5, help="of detections: least overlap along a track")
    parser.add_argument(
        "--link-gap", type=whole, default=5, help="of detections: frames in a row that a track may miss"
    )


def run(flags: argparse.Namespace) -> dict:
    """Cut; return the folder and the counts."""
    from vreid_jax.datasets.video.tracks import cut_tracklets

    if not flags.halves_as_cameras:
        raise InputError("one video is one camera and gives no pairs across cameras: add --halves-as-cameras")
    if flags.seed < 0:
        raise InputError(f"--seed={flags.seed} must not be negative")
    done = cut_tracklets(
        flags.video,
        flags.tracks,
        flags.out,
        min_length=flags.min_length,
        resize=_size(flags.resize),
        seed=flags.seed,
        min_iou=flags.link_iou,
        max_gap=flags.link_gap,
    )
    return {
        "out": flags.out,
        "train_identities": done.train_identities,
        "test_identities": done.test_identities,
        "tracklets": done.tracklets,
        "frames": done.frames,
        "left_out": done.left_out,
    }


def text(outcome: dict) -> str:
    """Return one line."""
    return (
        f"{outcome['out']}: {outcome['train_identities']} identities to train, {outcome['test_identities']} to test, "
        f"{outcome['tracklets']} tracklets, {outcome['frames']} frames; {outcome['left_out']} tracks were too short"
    )


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if not match:
        raise InputError(f"--resize={text} must be HEIGHTxWIDTH, as in 256x128, at most 9999 each")
    return int(match[1]), int(match[2])
