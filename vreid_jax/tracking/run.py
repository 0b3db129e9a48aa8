"""Tracking of a video, a camera or a stream: frame by frame to a file of tracks."""

import contextlib
import dataclasses
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from vreid_jax.datasets.video.track_file import NobodyFound, read_tracks
from vreid_jax.datasets.video.writer import CODECS, video_writer, write_frame
from vreid_jax.errors import InputError, Interrupted
from vreid_jax.files import given_path, open_regular
from vreid_jax.inference import Model
from vreid_jax.tracking import track_state
from vreid_jax.tracking.appearance import Looks
from vreid_jax.tracking.association import Tracker, TrackSettings
from vreid_jax.tracking.detection import Detector, find_people
from vreid_jax.tracking.detectors import make_detector
from vreid_jax.tracking.preview import write_preview
from vreid_jax.tracking.streams import CameraGone, Stream, frames_of, newest_frames, open_stream, shown_name
from vreid_jax.tracking.unfinished import Unfinished, check_new, unfinished
from vreid_jax.training.signals import stop_requests

log = logging.getLogger(__name__)

SAVE_SECONDS = 20.0  # between two states of an unfinished run
_LIVE_FPS = 15.0  # at most: more tells no more about people who walk
_LEAST_FPS = 0.1


@dataclasses.dataclass(frozen=True)
class Tracked:
    """What `track_video` did.

    Attributes:
      frames: that were looked at; of a file, those between them that cannot be read are counted.
      resumed: how many of them an earlier, interrupted call had looked at.
      tracks: number of tracks.
      boxes: number of boxes.
      frames_per_second: at which this call looked at frames.
      fps: frames per second of the tracks' time.
    """

    frames: int
    resumed: int
    tracks: int
    boxes: int
    frames_per_second: float
    fps: float


def track_video(
    video: str,
    out: str | os.PathLike,
    *,
    detector: str | Detector = "hog",
    model: Model | None = None,
    settings: TrackSettings | None = None,
    preview: str | os.PathLike | None = None,
    record: str | os.PathLike | None = None,
    most_frames: int = 0,
    progress: bool = False,
) -> Tracked:
    """Find and follow the people in a video; write their boxes in the format of MOTChallenge.

    One frame is in memory at a time. `out` appears when the video is done. Of a file, an interrupted call leaves what it has
    in `OUT.parts/`, and repeating it goes on from there with the same result. A camera or network stream is watched until
    Ctrl-C, or until it is gone.

    Args:
      video: a file, the number of a camera, or the address of a stream (`rtsp://…`).
      out: the file of tracks to write.
      detector: name of a detector (`make_detector`), or what takes a frame, uint8 `[H, W, 3]` RGB, and returns boxes
        `[N, 4]` (left, top, width, height) and scores `[N]`.
      model: tells people who come out from behind something; without one tracks go on by overlap alone.
      settings: how boxes become tracks.
      preview: a video with boxes to write as well, `.webm`, `.mp4` or `.avi`.
      record: of a camera or stream, a video of what was watched, whose frames are those of the tracks.
      most_frames: stop after so many frames; 0 for all.
      progress: whether to show bars.

    Raises:
      InputError: when something given cannot be used, or, `NobodyFound`, there are no people; nothing is written then.
      CameraGone: when a live stream ends, after `out` was written. So is what was tracked of it before any other error.
    """
    out = check_outputs(out, preview, record)
    settings = settings or TrackSettings()
    with open_stream(video) as stream:
        check_recording(stream, preview, record)
        found = make_detector(detector) if isinstance(detector, str) else detector
        job = _job(stream, detector, model, settings, most_frames)
        with unfinished(out, job) as held:
            tracked, ended = _track(stream, found, model, settings, held, record, most_frames, progress)
            if held.written:
                held.finish(out)
        if ended and not isinstance(ended, CameraGone):
            if held.written:
                log.warning("tracking failed after %d frames; the tracks until then are in %s", tracked.frames, out)
            raise ended
        if not held.written:
            raise _nobody(stream, detector, ended)
    if preview is not None:
        boxes = sorted(read_tracks(out), key=lambda box: box.frame)
        write_preview(os.fspath(record or video), boxes, preview, progress=progress)
    if ended:
        raise CameraGone(f"{ended}; the tracks until then are in {out}")
    return tracked


def check_outputs(
    out: str | os.PathLike, preview: str | os.PathLike | None = None, record: str | os.PathLike | None = None
) -> Path:
    """Return the path of the tracks; `InputError` when they, a preview or a recording cannot be written there."""
    new = check_new(out, "the tracks")
    named = {os.path.realpath(new): "the tracks"}
    for file, what in ((preview, "the preview"), (record, "the recording")):
        if file is None:
            continue
        other = check_new(file, what)
        if other.suffix.lower() not in CODECS:
            raise InputError(f"the name of {what}, {file}, must end in {', '.join(CODECS)}")
        if taken := named.get(os.path.realpath(other)):
            raise InputError(f"{file} is named for {taken} and for {what}: name two files")
        named[os.path.realpath(other)] = what
    return new


def check_recording(stream: Stream, preview: str | os.PathLike | None, record: str | os.PathLike | None) -> None:
    """Raise `InputError` for a recording of a file, and for a preview of what is not recorded."""
    if record is not None and not stream.live:
        raise InputError(f"a recording is made of a camera or a stream, and {stream.name} is a file")
    if preview is not None and stream.live and record is None:
        raise InputError("the preview of a camera or a stream is drawn into its recording: name a file for that, too")


def _track(
    stream: Stream,
    detector: Detector,
    model: Model | None,
    settings: TrackSettings,
    held: Unfinished,
    record: str | os.PathLike | None,
    most_frames: int,
    progress: bool,
) -> tuple[Tracked, Exception | None]:
    """Look at every frame; return what was done, and the error with which a live stream ended."""
    looks = Looks(model) if model else None
    fps = _live_fps(stream, detector, record) if stream.live else stream.fps
    tracker = Tracker(fps, settings)
    if held.tracker is not None:
        track_state.restore(tracker, held.tracker)
    number = start = looked = held.frame
    total = most_frames or stream.frames or None
    began = saved = time.monotonic()
    ended: Exception | None = None
    bar = tqdm(desc="tracking", total=total, initial=start, unit=" frames", disable=not progress, dynamic_ncols=True)
    with bar, _recorder(record, fps, stream) as recorded, stop_requests() as stop:
        frames = newest_frames(stream, fps) if stream.live else frames_of(stream, start, warn=True)
        try:
            for this, frame in frames:
                missed, number = this - number - 1, this
                passed = 1 if stream.live else 1 + missed  # a run that goes on knows the number alone
                looked += passed
                recorded(frame, missed)
                boxes, scores = find_people(detector, frame)
                held.append(tracker.update(number, boxes, scores, looks.in_frame(frame) if looks else None, missed))
                bar.update(passed)
                bar.set_postfix(people=tracker.started, refresh=False)
                if most_frames and looked >= most_frames:
                    break
                if stop.number and stream.live:
                    break
                if stop.number or time.monotonic() - saved > SAVE_SECONDS:
                    if stream.live:
                        held.sync()  # nothing can go on with a state of it
                    else:
                        held.save(number, track_state.dump(tracker))
                    saved = time.monotonic()
                    if stop.number:
                        raise Interrupted(
                            f"interrupted after frame {number}; run the same command again to resume it", stop.number
                        )
        except KeyboardInterrupt:  # a second Ctrl-C, while no frame comes
            if not stream.live:
                raise
        except Exception as error:  # what was seen of a live stream cannot be seen again
            if not stream.live:
                raise
            ended = error
        finally:
            frames.close()
    held.append(tracker.finish())
    seconds = max(time.monotonic() - began, 1e-9)
    return Tracked(
        looked, start, tracker.started, held.written, round((looked - start) / seconds, 2), float(fps)
    ), ended


def _live_fps(stream: Stream, detector: Detector, record: str | os.PathLike | None) -> float:
    """Return how many frames a second of a live stream are looked at: as many as detector and recording keep up with."""
    frame = stream.first[..., ::-1]
    find_people(detector, frame)  # the first time takes longer
    with _recorder(record, _LIVE_FPS, stream) as recorded:  # a try: the recording itself takes its place
        began = time.monotonic()
        find_people(detector, frame)
        recorded(frame, 0)
        seconds = time.monotonic() - began
    # Videos that OpenCV writes state two decimals, and the tracks are to have the same clock.
    return round(float(max(_LEAST_FPS, min(stream.fps or _LIVE_FPS, _LIVE_FPS, 0.8 / max(seconds, 1e-3)))), 2)


@contextlib.contextmanager
def _recorder(
    record: str | os.PathLike | None, fps: float, stream: Stream
) -> Iterator[Callable[[np.ndarray, int], None]]:
    """Yield what writes a frame to the recording, if there is one, behind so many that were missed.

    In place of each of these the one before them is written again: what a frame's number says is its time.
    """
    if record is None:
        yield lambda frame, missed: None
        return
    with video_writer(record, fps, stream.size) as writer:
        shown = stream.first[..., ::-1]

        def write(frame: np.ndarray, missed: int) -> None:
            nonlocal shown
            for _ in range(missed):
                write_frame(writer, shown)
            write_frame(writer, frame)
            shown = frame

        yield write


def _job(stream: Stream, detector, model: Model | None, settings: TrackSettings, most_frames: int) -> dict[str, Any]:
    """Return what the result depends on, to tell whether an unfinished one is of the same."""
    return {
        "video": shown_name(stream) if stream.live else video_stamp(Path(given_path(stream.name))),
        "detector": detector
        if isinstance(detector, str)
        else getattr(detector, "__qualname__", type(detector).__name__),
        "model": model.fingerprint if model else None,
        "settings": dataclasses.asdict(settings),
        "most_frames": most_frames,
    }


def video_stamp(file: Path) -> list:
    """Return name, length and a digest of the first and last megabyte of a video, which may have many gigabytes."""
    with open_regular(file) as opened:
        size = os.fstat(opened.fileno()).st_size
        digest = hashlib.sha256(opened.read(1 << 20))
        opened.seek(max(0, size - (1 << 20)))
        digest.update(opened.read())
    return [file.name, size, digest.hexdigest()]


def _nobody(stream: Stream, detector, gone: CameraGone | None) -> NobodyFound:
    name = detector if isinstance(detector, str) else "the detector"
    if gone:
        return NobodyFound(f"{gone}, and {name} found no people until then")
    return NobodyFound(
        f"{name} found no people in {shown_name(stream)}: hog needs whole people of at least 60 pixels, and another detector "
        "(--detector=onnx:FILE) may see them"
    )
