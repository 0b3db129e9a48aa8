"""Open what can be embedded: a built dataset, folders of pictures, or a video with its tracks."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vreid_jax import data
from vreid_jax.config import DATASETS
from vreid_jax.datasets import load_builder
from vreid_jax.datasets.tracklet_folder.layout import LARGEST, SPLITS
from vreid_jax.datasets.video.tracks import cut_tracks, read_fps
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_folder, given_path, open_regular, read_regular
from vreid_jax.json_files import json_or_none
from vreid_jax.search.gallery import Gallery
from vreid_jax.search.gallery_files import own_name
from vreid_jax.search.picture_folders import UNKNOWN, FolderTracklets, describe_file, frame_number, list_tracklets

RECORD = ".cut.json"  # in a folder of pictures: which video and tracks they were cut from
SECONDS = "seconds"  # in it: times of frames that their numbers do not tell
VIDEOS = (".avi", ".mp4", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".webm")


@dataclasses.dataclass(frozen=True)
class Source:
    """Tracklets, and what a gallery records about them beside their vectors.

    Attributes:
      tracklets: N of them.
      name: what was opened: a dataset as given, a folder or video by its absolute path.
      splits: `[N]` names, empty where there is none.
      first_frames: `[N]` int64 number of the first frame, from its file name or track; -1 where neither has one.
      last_frames: `[N]` likewise for the last frame.
      fps: frames per second of a video, 0 for anything else.
      folders: `[N]` folders of the pictures, empty for a built dataset.
      contents: `[N]` text that changes with the frames of a tracklet: of the names, sizes and times of modification of its
        pictures, or of the files of a built dataset.
      tracks: digest of the file of tracks that a video was cut along, empty for anything else.
      seconds: of a video whose frame rate changes, time of each frame by its number; empty for anything else.
    """

    tracklets: data.Tracklets
    name: str
    splits: np.ndarray
    first_frames: np.ndarray
    last_frames: np.ndarray
    fps: float
    folders: np.ndarray
    contents: np.ndarray
    tracks: str = ""
    seconds: Mapping[int, float] = dataclasses.field(default_factory=dict)

    @property
    def times(self) -> np.ndarray:
        """`[N, 2]` seconds of the video at which each tracklet begins and ends; NaN for anything but a video."""
        frames = np.stack([self.first_frames, self.last_frames], 1)
        times = np.where((frames != UNKNOWN) & (self.fps > 0), (frames - 1) / (self.fps or 1.0), np.nan)
        for place, frame in np.ndenumerate(frames) if self.seconds else ():
            times[place] = self.seconds.get(int(frame), times[place])
        return times


def open_source(
    path: str,
    *,
    tracks: str | None = None,
    frames: str | Path | None = None,
    camera: int = 0,
    data_dir: str | None = None,
    split: str = "",
    begin: range | None = None,
    progress: bool = False,
) -> Source:
    """Open a built dataset by its name (`walkers/small`), a folder of tracklets, or a video with its tracks.

    Args:
      path: name of a dataset (`walkers/small`, or a configuration's short name, `mars`), or path of a folder or video.
        In a folder, every folder that holds pictures is a tracklet; `<pid>/c<camid>_<name>` gives its identity and
        camera, any other name means pid 0 and camera 0. Junk, of pid -1, is left out, as it is of a dataset.
      tracks: file of boxes in MOTChallenge format, for a video.
      frames: folder for the pictures cut out of a video; it is made, or reused if it was cut from the same video and
        tracks.
      camera: camera of a video, and of tracklets whose folder does not name one.
      data_dir: where datasets are built.
      split: split of a dataset; empty: every test tracklet, once even if it is in query and gallery.
      begin: of a video, only the tracks whose first box is in one of these frames; None for all.
      progress: whether to show bars.

    Returns:
      The tracklets and what is known about them.

    Raises:
      InputError: when the input cannot be opened, holds no tracklets, or an argument does not apply to it.
    """
    if not path:
        raise InputError("the input is empty: give a built dataset, a folder of tracklet folders, or a video")
    check_camera(camera)
    file = given_path(path)
    for name, value in (("tracks", tracks), ("frames", frames)):
        if value and not is_video(file):
            raise InputError(f"--{name}={value} applies to a video, and {path} is not a video")
    if split and file.exists():
        raise InputError(f"--split={split} applies to a built dataset, and {path} is not a dataset")
    if file.is_dir():
        return _from_folder(file, os.path.realpath(file), camera)
    if file.is_file():
        return _from_video(file, tracks, frames, camera, begin, progress)
    if file.exists():
        raise InputError(
            f"{path} is a pipe or a device: give a built dataset, a folder of tracklet folders, or a video"
        )
    if file.suffix.lower() in VIDEOS or path.startswith((".", "/", "~")):
        raise InputError(f"{path} does not exist: give a built dataset, a folder of tracklet folders, or a video")
    return _from_dataset(path, data_dir, split, progress)


def check_camera(camera: int) -> None:
    """Raise `InputError` for what cannot be the number of a camera."""
    if not 0 <= camera <= LARGEST:
        raise InputError(f"--camera={camera} must be the number of a camera, or 0 for an unknown camera")


def is_video(path: str | Path) -> bool:
    """Return whether an input is taken for a video: a file, or something with a video's suffix that may be missing."""
    if not os.fspath(path):
        return False
    file = given_path(path)
    return file.is_file() or (not file.is_dir() and file.suffix.lower() in VIDEOS)


def _from_dataset(name: str, data_dir: str | None, split: str, progress: bool) -> Source:
    """Open a split of a built dataset, or its test tracklets."""
    builder = load_builder(DATASETS.get(name, name), data_dir or None, progress=progress)
    names = [split] if split else [part for part in ("gallery", "query") if part in builder.info.splits]
    if split:
        data.check_split(builder, split)
    sources = [data.TrackletSource(builder, part, progress) for part in names]
    ids = np.concatenate([source.tracklet_ids for source in sources])
    pids = np.concatenate([source.pids for source in sources])
    _, first = np.unique(ids, return_index=True)
    rows = np.sort(first)
    rows = rows[pids[rows] != -1]  # junk is never searched
    splits = np.repeat(names, [len(source) for source in sources])[rows]
    contents = {part: _content_of_split(builder, part) for part in names}
    return _source(
        data.JoinedSource(sources, rows), name, splits=splits, contents=np.array([contents[part] for part in splits])
    )


def _content_of_split(builder: Any, split: str) -> str:
    """Return text that changes with the files of a split of a built dataset."""
    files = [Path(file) for file in builder.info.splits[split].filepaths]
    return _digest([builder.info.full_name, *(describe_file(file.name, file.stat()) for file in files)])


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _from_folder(root: Path, name: str, camera: int, fps: float = 0.0) -> Source:
    """Open the folders of pictures below `root`."""
    folders = list_tracklets(root)
    tracklets = FolderTracklets(root, folders)
    tracklets.camids[tracklets.camids == 0] = camera
    numbers = [[frame_number(frame.path) for frame in frames] for frames in tracklets.frames]
    return _source(
        tracklets,
        name,
        splits=np.array([next((part for part in folder.relative_to(root).parts[:1] if part in SPLITS), "") for folder in folders]),
        first_frames=np.array([frames[0] for frames in numbers]),
        last_frames=np.array([frames[-1] for frames in numbers]),
        fps=fps,
        folders=np.array([str(folder.resolve()) for folder in folders]),
        contents=np.array([_digest([frame.content for frame in frames]) for frames in tracklets.frames]),
    )  # fmt: skip


def _from_video(
    video: Path, tracks: str | None, frames: str | Path | None, camera: int, begin: range | None, progress: bool
) -> Source:
    """Cut the tracks out of a video into the folder `frames`, unless that was done before, and open it."""
    if not tracks:
        raise InputError(f"{video} is a file: for a video also give its tracks, with --tracks=TRACKS.txt")
    if frames is None:
        raise InputError(f"name a folder for the pictures that are cut out of the video {video}")
    frames = given_path(frames)
    cut_from = {"video": _stamp(video, "the video"), "tracks": _stamp(given_path(tracks), "the tracks")}
    if begin is not None:
        cut_from["begin"] = [begin.start, begin.stop]
    if jax.process_index() == 0 and frames.exists():
        record = _read_record(frames)
        noted = {key: value for key, value in record.items() if key != SECONDS} if isinstance(record, dict) else None
        if noted != cut_from or _seconds(record) is None:
            raise InputError(
                f"{frames} exists already and was not cut from {video} along {tracks}, or by an earlier version that did not "
                "note enough to tell: name another folder with --frames, or remove it"
            )
    elif jax.process_index() == 0:
        with atomic_folder(frames) as partial:
            seconds = cut_tracks(video, tracks, partial, begin=begin, progress=progress).seconds
            (partial / RECORD).write_text(json.dumps(cut_from | ({SECONDS: seconds} if seconds else {})))
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("video cut")
    source = _from_folder(frames, os.path.realpath(video), camera, fps=read_fps(video))
    return dataclasses.replace(source, tracks=cut_from["tracks"][-1], seconds=_seconds(_read_record(frames)) or {})


def _stamp(file: Path, what: str) -> list:
    """Return name, length and digest of a file, which tell it from other files."""
    try:
        with open_regular(file) as opened:
            size = os.fstat(opened.fileno()).st_size
            return [file.name, size, hashlib.file_digest(opened, "sha256").hexdigest()]
    except (InputError, OSError) as error:
        raise InputError(f"{what} {error}") from error


def _read_record(folder: Path) -> Any:
    """Return what a folder of pictures was cut from; None where it is not known."""
    try:
        return json_or_none(read_regular(folder / RECORD))
    except InputError:
        return None


def _seconds(record: Any) -> dict[int, float] | None:
    """Return the times of frames in a record, which has them where the frame rate changes; None where they are nonsense."""
    try:
        seconds = {int(frame): float(time) for frame, time in record.get(SECONDS, {}).items()}
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None
    return seconds if all(math.isfinite(time) for time in seconds.values()) else None


def video_of(folder: Path) -> str | None:
    """Return the name of the video that the pictures of a folder were cut out of; None where that is not known."""
    stamp = _stamp_in(_read_record(folder), "video")
    return str(stamp[0]) if stamp else None


def is_cut_for(folder: Path, about: Mapping[str, Any]) -> bool:
    """Return whether a folder of pictures was cut out of the video of a gallery, along its tracks where it states them."""
    tracks, along = about.get("tracks"), _stamp_in(_read_record(folder), "tracks")
    return video_of(folder) == os.path.basename(about["input"]) and (not tracks or along[-1:] == [tracks])


def _stamp_in(record: Any, name: str) -> list:
    stamp = record.get(name) if isinstance(record, dict) else None
    return stamp if isinstance(stamp, list) else []


def _source(
    tracklets: data.Tracklets, name: str, splits, contents, first_frames=None, last_frames=None, fps=0.0, folders=None
) -> Source:
    """Return a `Source` with what is not given marked as unknown."""
    count = len(tracklets)
    nothing = np.full(count, UNKNOWN, np.int64)
    return Source(
        tracklets,
        name,
        np.asarray(splits),
        nothing if first_frames is None else first_frames,
        nothing if last_frames is None else last_frames,
        fps,
        np.full(count, "") if folders is None else folders,
        contents,
    )


def gallery_tracklets(gallery: Gallery, rows: np.ndarray, data_dir: str | None = None) -> data.Tracklets:
    """Open the pictures of some rows of a gallery.

    Args:
      gallery: the gallery.
      rows: which tracklets, in the order wanted.
      data_dir: where datasets are, for a gallery made from one.

    Raises:
      InputError: when the pictures have gone.
    """
    names, folders = (gallery.columns[key][rows].tolist() for key in ("tracklet_id", "folder"))
    if all(folders):
        paths = [given_path(folder) for folder in folders]
        for name, path in zip(names, paths, strict=True):
            if not path.is_dir() or not path.is_absolute():
                raise InputError(f"the pictures of {name} are no longer in {path}: embed their source again")
        opened = FolderTracklets(Path("/"), paths)
        for name, path, now, then in zip(
            names, paths, opened.num_frames.tolist(), gallery.columns["num_frames"][rows].tolist(), strict=True
        ):
            if now != then:
                raise InputError(f"{path} has {now} pictures, and {name} was {then} of them: embed their source again")
        return opened
    inputs = gallery.columns.get("input")
    if inputs is not None:  # of a folder
        names = [own_name(name) for name in names]
    stated = {gallery.about["input"]} if inputs is None else set(inputs[rows].tolist())
    if len(stated) > 1:
        raise InputError(
            f"the pictures of {names[0]} and others lie in the datasets {', '.join(sorted(stated))}: give the galleries of one"
        )
    (name,) = stated
    source = open_source(name, data_dir=data_dir).tracklets
    place = {name: row for row, name in enumerate(source.tracklet_ids.tolist())}
    gone = [name for name in names if name not in place]
    if gone:
        raise InputError(f"{name} no longer has the tracklet {gone[0]}: embed it again")
    return data.JoinedSource([source], np.array([place[name] for name in names]))
