"""The command that cuts a video into a tracklet folder."""

import argparse
import re
import sys
from collections.abc import Sequence

from vreid_jax.datasets.video.tracks import cut_tracklets
from vreid_jax.errors import InputError


def main(arguments: Sequence[str] | None = None, prog: str = "video_to_tracklets.py") -> int:
    """Cuts; returns the exit code: 0, or 2 with one sentence on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Cuts tracklets out of a video along MOTChallenge tracks, for the dataset folder.",
    )
    parser.add_argument("video")
    parser.add_argument(
        "tracks", help="lines frame,id,x,y,w,h,confidence,-1,-1,-1, frames from 1; id -1: detections, which are linked"
    )
    parser.add_argument("out", help="folder to make")
    parser.add_argument(
        "--halves-as-cameras",
        action="store_true",
        help="a track's first half is camera 1 and its second half camera 2; needed, as one video is one camera",
    )
    parser.add_argument("--min-length", type=int, default=8, help="leave shorter tracks out (boxes)")
    parser.add_argument("--resize", help="HEIGHTxWIDTH of the written frames, e.g. 256x128; default: as they are")
    parser.add_argument("--seed", type=int, default=0, help="which half of the identities is for training")
    parser.add_argument("--link-iou", type=float, default=0.5, help="of detections: least overlap along a track")
    parser.add_argument("--link-gap", type=int, default=5, help="of detections: frames in a row that a track may miss")
    flags = parser.parse_args(arguments)
    try:
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
    except InputError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    print(
        f"{flags.out}: {done.train_identities} identities to train, {done.test_identities} to test, "
        f"{done.tracklets} tracklets, {done.frames} frames; {done.left_out} tracks were too short"
    )
    return 0


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if not match:
        raise InputError(f"--resize={text} must be HEIGHTxWIDTH, as in 256x128, at most 9999 each")
    return int(match[1]), int(match[2])
