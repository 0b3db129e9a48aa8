"""Cutting of tracklets out of a video along MOTChallenge tracks, into the layout that the dataset `folder` reads."""

import contextlib
import dataclasses
import itertools
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm.auto import tqdm

from vreid_jax.datasets.video.box_linking import Box
from vreid_jax.datasets.video.reading import Frames, changed_times, frame_count, frame_rate
from vreid_jax.datasets.video.track_file import NobodyFound, read_tracks, warn_of_absences
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_folder, check_readable, given_path

log = logging.getLogger(__name__)

_QUALITY = 95
_MOST_OUTSIDE = 0.1  # share of boxes that may lie outside the picture; with another video's tracks it is larger


@dataclasses.dataclass(frozen=True)
class Summary:
    """Numbers of identities, tracklets and frames that were cut."""

    train_identities: int
    test_identities: int
    tracklets: int
    frames: int
    left_out: int  # tracks that are too short


@dataclasses.dataclass(frozen=True)
class Cut:
    """Number of tracks that were cut, and by their numbers the seconds of frames with pictures (`reading.changed_times`)."""

    tracks: int
    seconds: dict[int, float]


def clip_box(box: Box, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Return top, bottom, left, right, in whole pixels, of the part of a box inside the picture, or None."""
    left, right = max(0, round(box.left)), min(width, round(box.left + box.width))
    top, bottom = max(0, round(box.top)), min(height, round(box.top + box.height))
    return (top, bottom, left, right) if bottom > top and right > left else None


def cut_tracklets(
    video: str | os.PathLike,
    tracks: str | os.PathLike,
    out: str | os.PathLike,
    *,
    min_length: int = 8,
    resize: tuple[int, int] | None = None,
    seed: int = 0,
    min_iou: float = 0.5,
    max_gap: int = 5,
    progress: bool = True,
) -> Summary:
    """Write `out/{train,query,gallery}/<pid>/c<camid>_track<id>/<frame>.jpg`, pid being the track's id.

    Half of the identities, drawn by `seed`, are for training. The first half of a track becomes camera 1, the second
    half camera 2; of a test identity the first is the query and the second goes into the gallery. The video is read once,
    with one frame in memory at a time, and `out` appears when everything is written.

    Args:
      video: any video that OpenCV reads.
      tracks: boxes in MOTChallenge format, with ids, or detections (all ids -1), which are linked first.
      out: a folder that does not exist, or is empty.
      min_length: tracks with fewer boxes inside the picture are left out; at least 2.
      resize: (height, width) of the written frames in pixels; None leaves them as they are.
      seed: which identities are for training.
      min_iou: for detections, least overlap of neighbouring boxes of a track, in (0, 1].
      max_gap: for detections, number of consecutive frames that a track may miss.
      progress: whether to show a bar.

    Raises:
      InputError: an input cannot be used; `out` is then unchanged.
    """
    out = given_path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder: name another one, or remove it")
    if min_length < 2:
        raise InputError(f"min_length={min_length} must be at least 2: a track is cut into two halves")
    boxes = read_tracks(tracks, min_iou, max_gap)
    with _opened(video) as (reader, first, rate):
        _check_inside(boxes, first.shape[:2], video, tracks)
        jobs, train, test, left_out = _plan(boxes, first.shape[:2], min_length, seed, tracks)
        with atomic_folder(out) as partial:
            written, _ = _write(reader, first, rate, jobs, partial, resize, progress, video, tracks)
    return Summary(train, test, 2 * (train + test), written, left_out)


def cut_tracks(
    video: str | os.PathLike,
    tracks: str | os.PathLike,
    out: str | os.PathLike,
    *,
    min_length: int = 2,
    begin: range | None = None,
    progress: bool = True,
) -> Cut:
    """Write every track uncut, `out/track<id>/<frame>.jpg`, at its size in the video.

    Args:
      video: any video that OpenCV reads.
      tracks: boxes in MOTChallenge format.
      out: the folder to write into.
      min_length: tracks with fewer boxes inside the picture are left out.
      begin: write only the tracks whose first box is in one of these frames, whole, whenever they end; None for all.
      progress: whether to show a bar.

    Returns:
      What was cut; its seconds are empty where (frame - 1) / `read_fps` is the time.

    Raises:
      InputError: an input cannot be used, or, `NobodyFound`, no track has `min_length` boxes inside the picture.
    """
    boxes = read_tracks(tracks)
    with _opened(video) as (reader, first, rate):
        _check_inside(boxes, first.shape[:2], video, tracks)
        if begin is not None:
            begins = first_frames(boxes)
            boxes = [box for box in boxes if begins[box.track] in begin]
        warn_of_absences(boxes, rate, tracks)
        crops = {track: found for track, found in _crops(boxes, first.shape[:2]).items() if len(found) >= min_length}
        if not crops:
            raise NobodyFound(f"{tracks} has no track with at least {min_length} boxes inside the picture of {video}")
        jobs: dict[int, list[Job]] = {}
        for track, found in crops.items():
            for frame, crop in found:
                jobs.setdefault(frame, []).append((f"track{track:04d}", crop))
        _, seconds = _write(reader, first, rate, jobs, Path(out), None, progress, video, tracks)
    return Cut(len(crops), seconds)


def first_frames(boxes: Iterable[Box]) -> dict[int, int]:
    """Return the frame of the first box of each track, by its id."""
    found: dict[int, int] = {}
    for box in boxes:
        found[box.track] = min(found.get(box.track, box.frame), box.frame)
    return found


def read_fps(video: str | os.PathLike) -> float:
    """Return the frames per second of a video (`reading.frame_rate`), 0 if it does not tell."""
    with _opened(video) as (_, _, rate):
        return rate


@contextlib.contextmanager
def _opened(video: str | os.PathLike) -> Iterator[tuple[cv2.VideoCapture, np.ndarray, float]]:
    """Yield a video's reader, its first frame, which is read already, and its `frame_rate`."""
    video = given_path(video)
    if not video.exists():
        raise InputError(f"the video {video} does not exist")
    check_readable(video)
    reader = cv2.VideoCapture(os.fspath(video))
    try:
        readable, first = reader.read() if reader.isOpened() else (False, None)
        if not readable or first is None:
            raise InputError(f"the video {video} cannot be read: OpenCV finds no frame in it")
        yield reader, first, frame_rate(reader, os.fspath(video))
    finally:
        reader.release()


def _check_inside(boxes, shape, video, tracks) -> None:
    """Raise `InputError` if so many boxes miss the picture that they must be of another video."""
    outside = sum(clip_box(box, *shape) is None for box in boxes)
    if outside > _MOST_OUTSIDE * len(boxes):
        raise InputError(
            f"{outside} of {len(boxes)} boxes of {tracks} lie outside the picture of {video}, which is "
            f"{shape[1]} x {shape[0]}: they are of another video, or of another size of it"
        )


Job = tuple[str, tuple[int, int, int, int]]  # folder of the tracklet below OUT, and the crop


def _plan(boxes, shape, min_length, seed, tracks) -> tuple[dict[int, list[Job]], int, int, int]:
    """Return which crops of which frame go where, and how many tracks train, test, and are left out."""
    by_track = _crops(boxes, shape)
    ids = sorted(track for track, crops in by_track.items() if len(crops) >= min_length)
    if len(ids) < 2:
        raise InputError(
            f"{tracks} has {len(ids)} tracks with at least {min_length} boxes inside the picture: "
            "two are needed, one to train and one to test"
        )
    training = set(np.random.default_rng(seed).permutation(ids)[: len(ids) // 2].tolist())
    jobs: dict[int, list[Job]] = {}
    for track in ids:
        crops = sorted(by_track[track])
        for i, (frame, crop) in enumerate(crops):
            camid = 1 if i < len(crops) // 2 else 2
            split = "train" if track in training else ("query", "gallery")[camid - 1]
            jobs.setdefault(frame, []).append((f"{split}/{track:04d}/c{camid}_track{track}", crop))
    left_out = len({box.track for box in boxes}) - len(ids)
    return jobs, len(training), len(ids) - len(training), left_out


def _crops(boxes, shape) -> dict[int, list[tuple[int, tuple[int, int, int, int]]]]:
    """Return the frames and crops of every track, for its boxes inside the picture."""
    by_track: dict[int, list[tuple[int, tuple[int, int, int, int]]]] = {}
    for box in boxes:
        inside = clip_box(box, *shape)
        if inside:
            by_track.setdefault(box.track, []).append((box.frame, inside))
    return by_track


def _write(reader, first, rate: float, jobs: dict[int, list[Job]], root: Path, resize, progress, video, tracks):
    """Write the pictures; return how many, fewer than the jobs where frames cannot be read, and `changed_times` of frames."""
    last, written, missed = max(jobs), 0, set(jobs)
    frames, timestamps = Frames(reader, frame_count(reader, rate)), {}
    with tqdm(desc="cutting", total=last, unit=" frames", disable=not progress) as bar:
        for number in itertools.chain([1], frames):
            bar.update(min(number, last) - bar.n)
            timestamps[number] = frames.seconds
            if number in jobs:
                readable, image = (True, first) if number == 1 else reader.retrieve()
                if readable and image is not None and image.shape == first.shape:  # a damaged one may have another
                    for folder, crop in jobs[number]:
                        _write_crop(image, crop, root / folder / f"{number:06d}.jpg", resize)
                        written += 1
                    missed.discard(number)
            if number >= last:
                break
        else:
            raise InputError(f"{tracks} has boxes up to frame {last}, but the video {video} ends after {frames.number}")
    if missed:
        log.warning(
            "%d of the %d frames of %s with boxes cannot be read: tracks have no pictures there",
            len(missed), len(jobs), video,
        )  # fmt: skip
    return written, {number: time for number, time in changed_times(timestamps, rate).items() if number in jobs}


def _write_crop(image, crop: tuple[int, int, int, int], name: Path, resize) -> None:
    top, bottom, left, right = crop
    picture = image[top:bottom, left:right]
    if resize:
        picture = cv2.resize(picture, resize[::-1], interpolation=cv2.INTER_AREA)
    name.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(os.fspath(name), picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]):
        raise OSError(f"cannot write {name}")
