"""The layout of iLIDS-VID: `sequences/cam{1,2}/personXXX/*.png` and a file of ten divisions."""

import re

from vreid_jax.datasets.manual import person_splits
from vreid_jax.datasets.manual.files import ManualFiles, join
from vreid_jax.datasets.manual.listing import Listing, Published, Tracklet
from vreid_jax.errors import InputError

SPLIT_FILE = "train_test_splits_ilidsvid.mat"
PUBLISHED = (
    Published("train tracklets", (300,), "150 persons in two cameras"),
    Published("train identities", (150,), "half of 300 persons"),
    Published("query tracklets", (150,), "the other half in camera 1"),
    Published("query identities", (150,), "half of 300 persons"),
    Published("gallery tracklets", (150,), "the other half in camera 2"),
    Published("gallery identities", (150,), "half of 300 persons"),
    Published("shortest tracklet", (22, 23), "frames of a folder, both halves; sources differ"),
    Published("longest tracklet", (192,), "frames of a folder, both halves"),
    Published("cameras", (2,), "folders cam1 and cam2"),
)
_PERSON = re.compile(r"person_?(\d+)")
_FRAME = re.compile(r"cam(\d)_person_?(\d+)_(\d+)\.\w+", re.IGNORECASE)


def list_tracklets(files: ManualFiles, number: int) -> Listing:
    """List division `number`: the official one if its file is present, else a seeded one.

    Raises:
      InputError: a folder or a name is not as it must be, or a person is missing in a camera.
    """
    top = files.find_folder(lambda names: "sequences" in names)
    top = join(top, "sequences") if top is not None else files.find_folder(lambda names: {"cam1", "cam2"} <= names)
    if top is None:
        raise files.absent(f"{files.root} has no folder sequences with cam1 and cam2, unpacked or as .zip or .tar file")
    cameras = {camid: _camera(files, join(top, f"cam{camid}"), camid) for camid in (1, 2)}
    for here, there in ((1, 2), (2, 1)):
        missing = sorted(cameras[here].keys() - cameras[there].keys())
        if missing:
            raise files.absent(
                f"{files.where(join(top, f'cam{there}'))} has no {missing[0]}, which cam{here} has: every person is in "
                "both cameras"
            )
    persons = sorted(cameras[1])
    if len(persons) < 2:
        raise InputError(f"{files.where(join(top, 'cam1'))} has {len(persons)} persons; two halves need at least two")
    path = files.find_file(SPLIT_FILE)
    if path is None:
        division = person_splits.seeded(persons, number, SPLIT_FILE)
    else:
        division = person_splits.from_table(files, path, persons, number)
    return person_splits.listing(division, cameras)


def _camera(files: ManualFiles, folder: str, camid: int) -> dict[str, Tracklet]:
    tracklets: dict[str, Tracklet] = {}
    pids: dict[int, str] = {}
    for person in files.folders(folder):
        path = f"{folder}/{person}"
        match = _PERSON.fullmatch(person)
        if not match or int(match[1]) < 1:
            raise InputError(f"{files.where(path)}: a person's folder must be named like person001")
        pid = int(match[1])
        if pid in pids:
            raise InputError(f"{files.where(path)}: person {pid} has two folders, the other is {pids[pid]}")
        pids[pid] = person
        frames = files.frames(path)
        for frame in frames:
            name = frame.rpartition("/")[2]
            parsed = _FRAME.fullmatch(name)
            if not parsed:
                raise InputError(f"{files.where(frame)}: a frame must be named like cam1_person001_00317.png")
            if (int(parsed[1]), int(parsed[2])) != (camid, pid):
                raise InputError(f"{files.where(frame)}: the frame is of another person or camera than its folder")
        tracklets[person] = Tracklet(f"cam{camid}/{person}", pid, camid, frames)
    if not tracklets:
        raise InputError(f"{files.where(folder)} has no folders of persons")
    return tracklets
