"""The layout of MARS: two folders of boxes, two lists of their names, and tables whose rows are ranges of a list."""

import re

import numpy as np

from vreid_jax.datasets.manual.files import ManualFiles, join
from vreid_jax.datasets.manual.listing import Listing, Published, Tracklet
from vreid_jax.datasets.manual.matlab import read_table
from vreid_jax.datasets.progress import tracklets as shown
from vreid_jax.errors import InputError

PUBLISHED = (
    Published("train tracklets", (8298,), "rows of track_train_info"),
    Published("train identities", (625,), "pids of track_train_info"),
    Published("train frames", (509914,), "lines of train_name.txt"),
    Published("train shortest tracklet", (5,), "frames of a row"),
    Published("train mean length", (61.5,), "frames of a row"),
    Published("train longest tracklet", (900,), "frames of a row"),
    Published("query tracklets", (1980,), "query_IDX, one per identity and camera"),
    Published("query identities", (626,), "pids of query_IDX's rows"),
    Published("queries beyond one a camera", (0,), "one query per identity and camera"),
    Published("gallery tracklets", (12180,), "rows of track_test_info"),
    Published("gallery identities", (634,), "pids of track_test_info, without 0 and -1"),
    Published("gallery frames", (681089,), "lines of test_name.txt"),
    Published("gallery shortest tracklet", (2,), "frames of a row"),
    Published("gallery mean length", (55.9,), "frames of a row"),
    Published("gallery longest tracklet", (920,), "frames of a row"),
    Published("junk tracklets", (870,), "rows of pid -1, folder 00-1"),
    Published("distractor tracklets", (3248,), "rows of pid 0, folder 0000"),
    Published("cameras", (6,), "cameras of the rows"),
)
_NAME = re.compile(r"(\d{4}|00-1)C(\d)T(\d+)F(\d+)\.(?:jpg|jpeg|png)", re.IGNORECASE)
_INFO = ("train_name.txt", "test_name.txt", "tracks_train_info.mat", "tracks_test_info.mat", "query_IDX.mat")


def list_tracklets(files: ManualFiles) -> Listing:
    """List the rows of the two tables; `gallery` holds every test row and `query` repeats those of `query_IDX`.

    Raises:
      InputError: a file is missing, a name does not parse, a table does not fit the names, or a row is wrong.
    """
    top = files.find_folder(lambda names: {"bbox_train", "bbox_test"} <= names)
    if top is None:
        raise files.absent(f"{files.root} has no folders bbox_train and bbox_test, unpacked or as .zip or .tar files")
    info: dict[str, str] = {}
    for name in _INFO:
        path = files.find_file(name)
        if path is None:
            raise files.absent(
                f"{files.root} has no {name}: the folder info of MARS-evaluation holds {', '.join(_INFO)}"
            )
        info[name] = path
    train = _rows(files, join(top, "bbox_train"), info["train_name.txt"], info["tracks_train_info.mat"], "train")
    test = _rows(files, join(top, "bbox_test"), info["test_name.txt"], info["tracks_test_info.mat"], "test")
    for tracklet in train:
        if tracklet.pid <= 0:
            raise InputError(
                f"{files.where(tracklet.frames[0])}: pid {tracklet.pid} is junk or a distractor, which are for test only"
            )
    path = info["query_IDX.mat"]
    rows = read_table(files, path, "query_IDX").reshape(-1)
    if rows.min() < 1 or rows.max() > len(test):
        raise InputError(
            f"{files.where(path)} names row {rows.max() if rows.min() > 0 else rows.min()} of track_test_info, which has rows 1 to {len(test)}"
        )
    if len(np.unique(rows)) < len(rows):
        raise InputError(f"{files.where(path)} names a row of track_test_info twice")
    query = [test[row - 1] for row in rows]
    for row, tracklet in zip(rows, query, strict=True):
        if tracklet.pid <= 0:
            raise InputError(
                f"{files.where(path)} names row {row}, which is of pid {tracklet.pid}: junk and distractors cannot be queries"
            )
    return Listing(train, query, test, "official")


def _rows(files: ManualFiles, boxes: str, names_path: str, table_path: str, split: str) -> list[Tracklet]:
    key = f"track_{split}_info"
    try:
        names = files.read(names_path).decode("ascii").split()
    except UnicodeDecodeError as error:
        raise InputError(f"{files.where(names_path)} is not a list of names, a line each; fetch it again") from error
    table = read_table(files, table_path, key)
    where = f"{files.where(table_path)}, {key}"
    if table.ndim != 2 or table.shape[1] != 4:
        raise InputError(f"{where}: rows must be [start, end, pid, camera], found a table {list(table.shape)}")
    starts, ends = table[:, 0], table[:, 1]
    expected = np.concatenate([[1], ends[:-1] + 1])
    broken = np.flatnonzero((starts != expected) | (ends < starts))
    if len(broken):
        row = broken[0]
        raise InputError(
            f"{where}, row {row + 1}: names {starts[row]} to {ends[row]}, but the rows are contiguous and the next "
            f"name is {expected[row]}"
        )
    if ends[-1] != len(names):
        raise InputError(f"{where}: the rows end at name {ends[-1]}, but {files.where(names_path)} has {len(names)}")
    seen: set[str] = set()
    there: tuple[str, frozenset[str]] = ("", frozenset())
    tracklets = []
    for row, (start, end, pid, camid) in enumerate(shown(table.tolist(), f"listing {split}"), 1):
        frames = []
        for line, name in enumerate(names[start - 1 : end], start):
            match = _NAME.fullmatch(name)
            if not match:
                raise InputError(
                    f"{files.where(names_path)}, line {line}: {name[:100]!r} is not a name like 0001C1T0001F001.jpg"
                )
            if name in seen:
                raise InputError(f"{files.where(names_path)}, line {line}: {name} is listed twice")
            seen.add(name)
            found = (-1 if match[1] == "00-1" else int(match[1]), int(match[2]))
            if found != (pid, camid):
                raise InputError(
                    f"{where}, row {row}: says pid {pid}, camera {camid}, but its frame {name} is of pid {found[0]}, "
                    f"camera {found[1]}"
                )
            folder = f"{boxes}/{match[1]}"
            if there[0] != folder:
                there = (folder, frozenset(files.files(folder)))
            if name not in there[1]:
                raise files.absent(
                    f"{files.where(f'{folder}/{name}')} is missing, though {files.where(names_path)} names it"
                )
            frames.append((int(match[4]), f"{folder}/{name}"))
        frames.sort()
        first = frames[0][1].rpartition("/")[2].rpartition(".")[0]
        tracklets.append(Tracklet(first, pid, camid, tuple(path for _, path in frames)))
    return tracklets
