"""The tracklets of several galleries as one, on one clock, with what is certain about their cameras."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.linking.identities import COMMON, UNIX
from vreid_jax.retrieval.distances import prepare
from vreid_jax.search import Gallery, open_gallery
from vreid_jax.search.address import given_gallery, real_gallery
from vreid_jax.search.gallery import SECONDS, made_from
from vreid_jax.search.gallery_files import recordings_of

SEAM_SECONDS = 5.0  # by so many consecutive recordings of one camera, as recorders cut them, may overlap


@dataclasses.dataclass(frozen=True)
class Sightings:
    """N tracklets of one or several galleries.

    Attributes:
      vectors: [N, D] float32, of unit length where the metric is "cosine".
      gallery: [N] number of the gallery of each.
      tracklet_ids: [N] names, unique within a gallery.
      camids: [N] cameras as in the galleries, 0 where unknown.
      cameras: [N] numbers from 0 that tell cameras apart; an unknown camera is one of its gallery alone.
      times: [N, 2] first and last second on the common clock, NaN where unknown.
      paths: of the galleries.
      about: metadata of each gallery.
      inputs: what each gallery was made from, as `made_from` tells one from another.
      clock: "unix" or "common", as in a file of identities.
      recordings: [N] numbers that tell recordings apart, over all galleries; default: each gallery is one.
    """

    vectors: np.ndarray
    gallery: np.ndarray
    tracklet_ids: np.ndarray
    camids: np.ndarray
    cameras: np.ndarray
    times: np.ndarray
    paths: tuple[Path | str, ...]
    about: tuple[Mapping[str, Any], ...]
    inputs: tuple[str, ...]
    clock: str
    recordings: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int))

    def __post_init__(self):
        if not len(self.recordings):
            object.__setattr__(self, "recordings", self.gallery)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def metric(self) -> str:
        """The metric of all galleries."""
        return self.about[0]["metric"]

    def columns_of(self, number: int) -> dict[str, np.ndarray]:
        """Return names, cameras and own seconds of the tracklets of a gallery, as the columns of that are called."""
        rows = self.gallery == number
        stated = self.about[number].get("recorded_at") if self.clock == UNIX else None
        times = self.times[rows] - (datetime.fromisoformat(stated).timestamp() if stated else 0.0)
        seconds = dict(zip(SECONDS, times.T, strict=True))
        return {"tracklet_id": self.tracklet_ids[rows], "camid": self.camids[rows], **seconds}


def at_seam(cameras: np.ndarray, recordings: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return booleans, as `one` and `other`, rows of tracklets, broadcast: whether one camera saw both in two recordings.

    Then that they overlap in time does not say that they are two people: consecutive recordings may share seconds.
    """
    return (cameras[one] == cameras[other]) & (recordings[one] != recordings[other])


def open_sightings(paths: Sequence[str | Path]) -> Sightings:
    """Open galleries as one.

    Args:
      paths: at least one gallery, none twice and none in the folder of another.

    Raises:
      InputError: when one cannot be opened, when they are of several models, when only some of them say when they were
        recorded, or when two recordings of one camera overlap in time by more than a seam.
    """
    files = tuple(given_gallery(path) for path in paths)
    _refuse_twice(files)
    return join_galleries(files, [open_gallery(file) for file in files])


def join_galleries(files: Sequence[Path | str], galleries: Sequence[Gallery]) -> Sightings:
    """Return opened galleries as one; `open_sightings` says what is refused."""
    about = tuple(gallery.about for gallery in galleries)
    for file, other in zip(files, about, strict=True):
        if other["fingerprint"] != about[0]["fingerprint"]:
            raise InputError(
                f"{file} was made by model {other['fingerprint']} ({other['model']}), {files[0]} by "
                f"{about[0]['fingerprint']} ({about[0]['model']}): vectors of different models cannot be compared; embed "
                "one of the two again"
            )
    clock, offsets = _clock(files, about)
    times = [
        np.stack([gallery.columns[name] for name in ("start_seconds", "end_seconds")], 1) + offset
        for gallery, offset in zip(galleries, offsets, strict=True)
    ]
    gallery = np.repeat(np.arange(len(galleries)), [len(each) for each in galleries])
    camids = np.concatenate([each.columns["camid"] for each in galleries])
    # An unknown camera is one for each gallery, of a folder for each input; the numbers of known ones hold for all.
    keys = np.stack([camids, np.where(camids > 0, -1, _input_numbers(galleries))], 1)
    cameras = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    names = np.concatenate([recordings_of(each) for each in galleries])
    parts = np.stack([gallery, np.unique(names, return_inverse=True)[1].reshape(-1)], 1)
    joined = Sightings(
        vectors=np.concatenate([prepare(each.vectors, about[0]["metric"]) for each in galleries]),
        gallery=gallery,
        tracklet_ids=np.concatenate([each.columns["tracklet_id"] for each in galleries]),
        camids=camids,
        cameras=cameras,
        times=np.concatenate(times),
        paths=tuple(files),
        about=about,
        inputs=tuple(
            made_from(each.about, each.columns["folder"], file) for file, each in zip(files, galleries, strict=True)
        ),
        clock=clock,
        recordings=np.unique(parts, axis=0, return_inverse=True)[1].reshape(-1),
    )
    _refuse_overlaps(joined, offsets, names)
    return joined


def _input_numbers(galleries: Sequence[Gallery]) -> np.ndarray:
    """Return [N] numbers that tell the inputs of tracklets apart, those of two galleries always."""
    counted, found = 0, []
    for gallery in galleries:
        inputs = gallery.columns.get("input")
        numbers = (
            np.zeros(len(gallery), int) if inputs is None else np.unique(inputs, return_inverse=True)[1].reshape(-1)
        )
        found.append(numbers + counted)
        counted += int(numbers.max()) + 1
    return np.concatenate(found)


def _refuse_twice(files: Sequence[Path | str]) -> None:
    places: dict[str, Path | str] = {}
    for file in files:
        place = real_gallery(file).rstrip("/")
        if place in places:
            raise InputError(f"{file} is given twice: give every gallery once")
        places[place] = file
    for place, file in places.items():
        steps = place.split("/")
        for folder in filter(None, (places.get("/".join(steps[:count])) for count in range(1, len(steps)))):
            raise InputError(f"{file} lies in {folder}, of which all is linked: give one of them")


def _clock(files: Sequence[Path | str], about: Sequence[Mapping[str, Any]]) -> tuple[str, list[float]]:
    """Return the clock, and the second on it at which the video of each gallery begins."""
    recorded = [each.get("recorded_at") for each in about]
    if not any(recorded):
        return COMMON, [0.0] * len(recorded)
    if not all(recorded):
        with_one, without = recorded.index(next(filter(None, recorded))), [bool(each) for each in recorded].index(False)
        raise InputError(
            f"{files[with_one]} says when it was recorded and {files[without]} does not: embed the latter again with "
            "--start=DATETIME, or all of them without it if all videos began at the same moment"
        )
    return UNIX, [datetime.fromisoformat(str(text)).timestamp() for text in recorded]


def _refuse_overlaps(sightings: Sightings, offsets: Sequence[float], names: np.ndarray) -> None:
    """Raise `InputError` when two recordings show one camera, or two galleries one video, at the same time.

    Args:
      sightings: of the galleries.
      offsets: seconds on the clock at which the galleries begin.
      names: [N] of recordings within their galleries.
    """
    keys = np.stack([sightings.cameras, sightings.gallery, sightings.recordings], 1)
    views, rows, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    starts, ends = np.full(len(views), np.inf), np.full(len(views), -np.inf)
    np.fmin.at(starts, inverse.reshape(-1), sightings.times[:, 0])
    np.fmax.at(ends, inverse.reshape(-1), sightings.times[:, 1])
    order = np.argsort(starts, kind="stable")[: np.isfinite(starts).sum()].tolist()
    for place, one in enumerate(order):
        for other in itertools.islice(order, place + 1, None):
            if starts[other] > ends[one]:
                break
            (camera, gallery, recording), (other_camera, other_gallery, other_recording) = views[one], views[other]
            if recording == other_recording:
                continue
            first, second = (sightings.paths[each] for each in sorted((gallery, other_gallery)))
            start, end = float(starts[other]), float(min(ends[one], ends[other]))
            if camera == other_camera:
                follows = gallery == other_gallery or offsets[gallery] != offsets[other_gallery]
                if follows and end - start <= SEAM_SECONDS:
                    continue
                number = int(sightings.camids[rows[one]])
                what = f"{first} and {second}"
                if gallery == other_gallery:
                    what = f"{names[rows[one]]} and {names[rows[other]]} in {first}"
                raise InputError(
                    f"{what} are both of {f'camera {number}' if number else 'one input'} and overlap in time, from "
                    f"{_shown(start)} to {_shown(end)}: say with --start=DATETIME when each video began when you embed it, "
                    "or with --camera that they are of two cameras"
                )
            if gallery != other_gallery and sightings.inputs[gallery] == sightings.inputs[other_gallery]:
                raise InputError(
                    f"{first} and {second} were both made from {sightings.inputs[gallery]}: give one of them"
                )


def _shown(seconds: float) -> str:
    """Return a moment of either clock for a sentence."""
    if math.fabs(seconds) < 1e8:  # three years: no date of a camera
        return f"{seconds:.1f} s"
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
