"""The layout of the multi-shot part of PRID 2011: `multi_shot/cam_{a,b}/person_XXXX/*.png`."""

import re

from vreid_jax.datasets.manual import person_splits
from vreid_jax.datasets.manual.files import ManualFiles, join
from vreid_jax.datasets.manual.listing import Listing, Published, Tracklet
from vreid_jax.datasets.manual.person_splits import NUM_SPLITS, Division
from vreid_jax.errors import InputError
from vreid_jax.json_files import json_or_none

SPLIT_FILES = ("splits_prid2011.json", "train_test_splits_prid.mat")
SHARED = 200  # the persons up to this number are the same in both cameras, those above are not
SHORTEST = 27  # the literature says "more than 21", but at 21 there are 183 persons and not 178
PUBLISHED = (
    Published("train tracklets", (178,), "89 persons in two cameras"),
    Published("train identities", (89,), f"half of the persons with at least {SHORTEST} frames in both cameras"),
    Published("query tracklets", (89,), "the other half in camera A"),
    Published("query identities", (89,), f"half of the persons with at least {SHORTEST} frames in both cameras"),
    Published("gallery tracklets", (89,), "the other half in camera B"),
    Published("gallery identities", (89,), f"half of the persons with at least {SHORTEST} frames in both cameras"),
    Published("cameras", (2,), "folders cam_a and cam_b"),
)
_PERSON = re.compile(r"person_(\d{4})")
_FRAME = re.compile(r"\d+\.\w+")
_CAMERAS = {1: "cam_a", 2: "cam_b"}


def list_tracklets(files: ManualFiles, number: int) -> Listing:
    """List division `number`: from one of `SPLIT_FILES` if present, else a seeded one.

    Raises:
      InputError: a folder or a name is not as it must be, or a division names a person who is not in both cameras.
    """
    top = files.find_folder(lambda names: "multi_shot" in names)
    top = join(top, "multi_shot") if top is not None else files.find_folder(lambda names: {"cam_a", "cam_b"} <= names)
    if top is None:
        raise files.absent(
            f"{files.root} has no folder multi_shot with cam_a and cam_b, unpacked or as .zip or .tar file"
        )
    cameras = {camid: _camera(files, join(top, name), camid) for camid, name in _CAMERAS.items()}
    both = sorted(cameras[1].keys() & cameras[2].keys())
    persons = [p for p in both if all(len(camera[p].frames) >= SHORTEST for camera in cameras.values())]
    names, table = (files.find_file(name) for name in SPLIT_FILES)
    if names is not None:
        division = _named(files, names, both, number)
    elif table is not None:
        division = person_splits.from_table(files, table, persons, number)
    elif len(persons) < 2:
        raise InputError(
            f"{files.where(top)} has {len(persons)} persons with at least {SHORTEST} frames in both cameras; two halves "
            "need at least two"
        )
    else:
        division = person_splits.seeded(persons, number, " or ".join(SPLIT_FILES))
    return person_splits.listing(division, cameras)


def _camera(files: ManualFiles, folder: str, camid: int) -> dict[str, Tracklet]:
    tracklets = {}
    for person in files.folders(folder):
        path = f"{folder}/{person}"
        match = _PERSON.fullmatch(person)
        if not match or int(match[1]) < 1:
            raise InputError(f"{files.where(path)}: a person's folder must be named like person_0001")
        if int(match[1]) > SHARED:
            continue
        frames = files.frames(path)
        for frame in frames:
            if not _FRAME.fullmatch(frame.rpartition("/")[2]):
                raise InputError(f"{files.where(frame)}: a frame must be named like 0001.png")
        tracklets[person] = Tracklet(f"{_CAMERAS[camid]}/{person}", int(match[1]), camid, frames)
    if not tracklets:
        raise InputError(f"{files.where(folder)} has no folders of persons")
    return tracklets


def _named(files: ManualFiles, path: str, persons: list[str], number: int) -> Division:
    """Read a division from a list of ten `{"train": [...], "test": [...]}` of names."""
    where = files.where(path)
    try:
        halves = json_or_none(files.read(path))[number]
        train, test = (tuple(sorted(halves[half])) for half in ("train", "test"))
        if not all(isinstance(name, str) for name in (*train, *test)):
            raise TypeError("names are text")
    except (LookupError, TypeError) as error:
        raise InputError(
            f'{where} must be a list of {NUM_SPLITS} {{"train": [...], "test": [...]}} of names like person_0001'
        ) from error
    if not train or not test or len({*train, *test}) < len(train) + len(test):
        raise InputError(f"{where}, division {number}: a half is empty, or a person occurs twice")
    unknown = sorted({*train, *test} - set(persons))
    if unknown:
        raise InputError(f"{where}, division {number}, names {unknown[0]}, who is not in both cameras")
    return Division(train, test, f"official: {path.rpartition('/')[2]}")
