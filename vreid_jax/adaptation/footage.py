"""What a model is adapted to: tracks, and which of them were seen at the same time."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int
from scipy import sparse

from vreid_jax import data
from vreid_jax.adaptation.settings import AdaptationSettings
from vreid_jax.errors import InputError
from vreid_jax.search import open_gallery, open_source
from vreid_jax.search.address import holds_galleries
from vreid_jax.search.gallery_files import recordings_of
from vreid_jax.search.picture_folders import FolderTracklets, frame_number
from vreid_jax.search.sources import Source, gallery_tracklets

UNKNOWN = -1  # for a frame number
LEAST_HELD_BACK = 4


@dataclasses.dataclass(frozen=True)
class Footage:
    """N tracks of one's own cameras, each of one person.

    Attributes:
      tracklets: their frames.
      scenes: [N] tracks of one scene, a camera in one recording, share a clock.
      spans: [N, 2] numbers of the first and the last frame, -1 where the time is not known.
      names: what was opened.
      frames: of each track the numbers of its frames, or nothing where only the first and last are known.
    """

    tracklets: data.Tracklets
    scenes: Int[np.ndarray, " N"]
    spans: Int[np.ndarray, "N 2"]
    names: tuple[str, ...]
    frames: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.scenes)

    def chosen(self, rows: Int[np.ndarray, " M"]) -> "Footage":
        """Return some of the tracks."""
        tracklets = data.JoinedSource([self.tracklets], rows)
        frames = tuple(self.frames[row] for row in rows.tolist())
        return Footage(tracklets, self.scenes[rows], self.spans[rows], self.names, frames)


def open_footage(
    inputs: Sequence[str],
    *,
    tracks: str | None = None,
    frames: str | None = None,
    camera: int = 0,
    data_dir: str | None = None,
    progress: bool = False,
) -> Footage:
    """Open galleries, of which the pictures are used, or what `search.open_source` opens, as one footage.

    Args:
      inputs: at least one path or name; a gallery ends in `.parquet`, or is a folder or address of such files.
      tracks: of a video, which is then the only input.
      frames: folder for the pictures cut out of it.
      camera: of a video, and of tracklets whose folder names none.
      data_dir: where datasets are.
      progress: whether to show bars.

    Raises:
      InputError: when an input cannot be opened, or `tracks` or `frames` are given for several or for a gallery.
    """
    if tracks and len(inputs) > 1:
        raise InputError(f"--tracks={tracks} are of one video, and {len(inputs)} inputs are given: adapt to galleries")
    for name, value in (("tracks", tracks), ("frames", frames)):
        if value and any(map(holds_galleries, inputs)):
            raise InputError(f"--{name}={value} applies to a video, and a gallery has its own pictures: leave it out")
    opened = []
    for path in inputs:
        if holds_galleries(path):
            opened.append(_of_gallery(path, data_dir))
        else:
            source = open_source(
                path, tracks=tracks, frames=frames, camera=camera, data_dir=data_dir, progress=progress
            )
            opened.append(_of_source(source))
    inputs_of = np.repeat(np.arange(len(opened)), [len(part) for part in opened])
    cameras = np.stack([inputs_of, np.concatenate([part.scenes for part in opened])], axis=1)
    scenes = np.unique(cameras, axis=0, return_inverse=True)[1].reshape(-1)
    sources = [part.tracklets for part in opened]
    tracklets = data.JoinedSource(sources, np.arange(len(scenes))) if len(sources) > 1 else sources[0]
    spans = np.concatenate([part.spans for part in opened])
    names = tuple(name for part in opened for name in part.names)
    return Footage(tracklets, scenes, spans, names, tuple(frames for part in opened for frames in part.frames))


def _of_source(source: Source) -> Footage:
    spans = np.stack([source.first_frames, source.last_frames], axis=1)
    # The frames of a folder of tracklets may each be numbered from 1: only those of a video are times.
    spans = spans if source.fps > 0 else np.full_like(spans, UNKNOWN)
    return Footage(source.tracklets, source.tracklets.camids, spans, (source.name,), _frames_of(source.tracklets))


def _of_gallery(path: str, data_dir: str | None) -> Footage:
    gallery = open_gallery(path)
    columns = gallery.columns
    spans = np.stack([columns["first_frame"], columns["last_frame"]], axis=1)
    spans[np.isnan(columns["start_seconds"]) | np.isnan(columns["end_seconds"])] = UNKNOWN
    tracklets = gallery_tracklets(gallery, np.arange(len(gallery)), data_dir)
    numbers = np.unique(recordings_of(gallery), return_inverse=True)[1].reshape(-1)  # each counts its own frames
    scenes = np.unique(np.stack([numbers, columns["camid"]], 1), axis=0, return_inverse=True)[1].reshape(-1)
    return Footage(tracklets, scenes, spans, (str(gallery.about["input"]),), _frames_of(tracklets))


def _frames_of(tracklets: data.Tracklets) -> tuple[np.ndarray, ...]:
    """Return the numbers of the frames of each track: those of its pictures, or nothing where it has no folder of them."""
    if not isinstance(tracklets, FolderTracklets):
        return tuple(np.empty(0, np.int64) for _ in range(len(tracklets)))
    return tuple(np.array([frame_number(frame.path) for frame in frames]) for frames in tracklets.frames)


def usable(footage: Footage, settings: AdaptationSettings) -> Footage:
    """Return the tracks to adapt to, in their order: those that are long enough, and of too many some at random.

    Raises:
      InputError: when too few are left.
    """
    rows = np.flatnonzero(footage.tracklets.num_frames >= settings.least_frames)
    name = ", ".join(footage.names)
    if len(rows) < settings.least_tracks:
        raise InputError(
            f"{name} has {len(rows)} tracks of at least {settings.least_frames} frames, and {settings.least_tracks} are "
            "needed to adapt a model: film for longer, or give more galleries"
        )
    if len(rows) > settings.most_tracks:
        rng = np.random.default_rng((settings.seed, 1))
        rows = np.sort(rng.choice(rows, settings.most_tracks, replace=False))
    return footage.chosen(rows)


def seen_together(footage: Footage, least_overlap: int = 1) -> Bool[np.ndarray, "N N"]:
    """Return which tracks are of two people for certain: of one scene, and with so many frames in common.

    A track whose frames are not known counts as seen from its first to its last one.
    """
    first, last = footage.spans.T
    common = np.minimum(last[:, None], last[None]) - np.maximum(first[:, None], first[None]) + 1
    listed = np.array([len(frames) > 0 for frames in footage.frames], bool)
    if listed.any():
        common = np.where(listed[:, None] & listed[None], _frames_in_common(footage), common)
    known = (first != UNKNOWN) & (last != UNKNOWN)
    together = (footage.scenes[:, None] == footage.scenes[None]) & known[:, None] & known[None]
    together &= common >= least_overlap
    np.fill_diagonal(together, False)
    return together


def _frames_in_common(footage: Footage) -> Int[np.ndarray, "N N"]:
    """Return how many numbers the frames of two tracks have in common, of whatever scenes."""
    rows = np.repeat(np.arange(len(footage)), [len(frames) for frames in footage.frames])
    numbers, columns = np.unique(np.concatenate(footage.frames), return_inverse=True)
    shape = (len(footage), len(numbers))
    seen = sparse.csr_array((np.ones(len(rows), np.int64), (rows, columns.reshape(-1))), shape)
    seen.data[:] = 1  # a folder may hold two pictures of one number
    return (seen @ seen.T).toarray()


def split_held_back(count: int, share: float, seed: int) -> tuple[Int[np.ndarray, " T"], Int[np.ndarray, " H"]]:
    """Return the rows to train on and those that are held back, both sorted; four are held back at least."""
    held = max(LEAST_HELD_BACK, round(share * count))
    order = np.random.default_rng((seed, 2)).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])
