"""The layout of DukeMTMC-VideoReID: `{train,query,gallery}/<pid>/<tracklet>/*.jpg`."""

import re

from vreid_jax.datasets.manual.files import ManualFiles, join
from vreid_jax.datasets.manual.listing import Listing, Published, Tracklet, unmatched
from vreid_jax.datasets.progress import tracklets as shown
from vreid_jax.errors import InputError

SPLITS = ("train", "query", "gallery")
PUBLISHED = (
    Published("train tracklets", (2196,), "folders below a person's"),
    Published("train identities", (702,), "folders of train"),
    Published("query identities", (702,), "folders of query"),
    Published("gallery tracklets", (2636,), "folders below a person's"),
    Published("queried identities in gallery", (702,), "folders in query and in gallery"),
    Published("unqueried identities in gallery", (408,), "folders in gallery only: distractors"),
    Published("cameras", (8,), "cameras in the names"),
)
# 0001C6F0099X30823.jpg or 0001_C6_F0099_X30823.jpg
_FRAME = re.compile(r"(\d+)(_?)C(\d)\2F(\d+)\2X(\d+)\.\w+", re.IGNORECASE)


def list_tracklets(files: ManualFiles) -> Listing:
    """List the tracklets of the three folders; their frames may start at any number.

    Raises:
      InputError: a folder is missing or empty, a name does not parse, or a query's identity is not in the gallery.
    """
    top = files.find_folder(lambda names: set(SPLITS) <= names)
    if top is None:
        raise files.absent(f"{files.root} has no folders {', '.join(SPLITS)}, unpacked or as .zip or .tar file")
    train, query, gallery = (_split(files, join(top, split), split) for split in SPLITS)
    alone = unmatched(query, gallery)
    if alone:
        folder = alone.frames[0].rpartition("/")[0]
        raise InputError(f"{files.where(folder)}: person {alone.pid} is a query but not in the gallery")
    return Listing(train, query, gallery, "official")


def _split(files: ManualFiles, folder: str, split: str) -> list[Tracklet]:
    tracklets, first_frames = [], {}
    for person in shown(files.folders(folder), f"listing {split}"):
        if not person.isdecimal() or int(person) < 1:
            raise InputError(f"{files.where(f'{folder}/{person}')}: a person's folder must be named by a number from 1")
        names = files.folders(f"{folder}/{person}")
        if not names:
            raise InputError(f"{files.where(f'{folder}/{person}')} has no folders of tracklets")
        for name in names:
            path = f"{folder}/{person}/{name}"
            tracklet = _tracklet(files, path, f"{split}/{person}/{name}", int(person))
            first = tracklet.frames[0].rpartition("/")[2]
            if first in first_frames:
                raise InputError(f"{files.where(path)} is the same tracklet as {files.where(first_frames[first])}")
            first_frames[first] = path
            tracklets.append(tracklet)
    if not tracklets:
        raise InputError(f"{files.where(folder)} is empty: it holds folders <pid>/<tracklet> of frames")
    return tracklets


def _tracklet(files: ManualFiles, path: str, tracklet_id: str, pid: int) -> Tracklet:
    numbered, camids = [], set()
    for frame in files.frames(path):
        match = _FRAME.fullmatch(frame.rpartition("/")[2])
        if not match:
            raise InputError(
                f"{files.where(frame)}: a frame must be named like 0001C6F0099X30823.jpg or 0001_C6_F0099_X30823.jpg"
            )
        if int(match[1]) != pid:
            raise InputError(f"{files.where(frame)}: a frame of person {int(match[1])} in the folder of person {pid}")
        camids.add(int(match[3]))
        numbered.append((int(match[4]), frame))
    if len(camids) > 1:
        raise InputError(
            f"{files.where(path)} has frames of cameras {', '.join(map(str, sorted(camids)))}; a tracklet has one"
        )
    return Tracklet(tracklet_id, pid, camids.pop(), tuple(frame for _, frame in sorted(numbered)))
