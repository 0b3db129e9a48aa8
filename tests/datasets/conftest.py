"""Small data sets in the layouts that the real ones come in; every picture's grey level tells which one it is."""

import functools
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat


@functools.cache
def encoded(level: int, suffix: str = ".jpg") -> bytes:
    return cv2.imencode(suffix, np.full((16, 8, 3), level, np.uint8))[1].tobytes()


def write_picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(level, path.suffix))


def litter(root: Path) -> None:
    """What macOS and Windows leave in every folder."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for name in ("._0001.jpg", ".DS_Store", "Thumbs.db"):
            (folder / name).write_bytes(b"litter")


@pytest.fixture
def zip_folder():
    return _zip_folder


@pytest.fixture(scope="module")
def tiny_jpeg() -> bytes:
    return encoded(50)


def _zip_folder(root: Path, folder: str) -> None:
    """Replaces a folder by a zip file of it, with the litter that macOS packs."""
    with zipfile.ZipFile(root / f"{folder}.zip", "w") as archive:
        for path in sorted((root / folder).rglob("*"), reverse=True):
            archive.write(path, path.relative_to(root))
        archive.writestr(f"__MACOSX/{folder}/._x.jpg", b"litter")
    for path in sorted((root / folder).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / folder).rmdir()


# Rows of MARS: (folder, pid, camera, tracklet number, frames).
MARS_TRAIN = [("0001", 1, 1, 1, 3), ("0001", 1, 2, 1, 2), ("0007", 7, 6, 12, 11)]
MARS_TEST = [
    ("00-1", -1, 1, 1, 2), ("0000", 0, 3, 2, 4), ("0002", 2, 1, 1, 3), ("0002", 2, 1, 2, 2), ("0002", 2, 4, 1, 5),
    ("0006", 6, 5, 1, 2),
]  # fmt: skip
MARS_QUERY = [[3, 5, 6]]


def mars_rows(tracklets) -> tuple[list[str], np.ndarray]:
    names, rows = [], []
    for folder, pid, camid, number, count in tracklets:
        rows.append([len(names) + 1, len(names) + count, pid, camid])
        names += [f"{folder}C{camid}T{number:04d}F{frame:03d}.jpg" for frame in range(1, count + 1)]
    return names, np.array(rows, np.int32)


@pytest.fixture
def mars(tmp_path) -> Path:
    root = tmp_path / "MARS"
    (root / "info").mkdir(parents=True)
    for split, tracklets in (("train", MARS_TRAIN), ("test", MARS_TEST)):
        names, rows = mars_rows(tracklets)
        for level, name in enumerate(names):
            write_picture(root / f"bbox_{split}" / name[:4] / name, 10 + 5 * level)
        (root / "info" / f"{split}_name.txt").write_text("\n".join(names) + "\n")
        savemat(root / "info" / f"tracks_{split}_info.mat", {f"track_{split}_info": rows})
    savemat(root / "info" / "query_IDX.mat", {"query_IDX": np.array(MARS_QUERY, np.uint16)})
    litter(root)
    return root


@pytest.fixture
def ilids(tmp_path) -> Path:
    """Six persons, with numbers left out, ten divisions; frames are numbered from anywhere and not padded."""
    root = tmp_path / "ilids"
    for camid in (1, 2):
        for pid in (1, 2, 5, 10, 11, 200):
            person = root / "i-LIDS-VID" / "sequences" / f"cam{camid}" / f"person{pid:03d}"
            for level, frame in enumerate((98, 99, 100)):
                write_picture(person / f"cam{camid}_person{pid:03d}_{frame}.png", 10 * level + 100 * camid)
            images = root / "i-LIDS-VID" / "images" / f"cam{camid}" / person.name
            write_picture(images / f"cam{camid}_{person.name}.png", 0)
    folder = root / "train-test people splits"
    folder.mkdir()
    order = [np.random.default_rng(split).permutation(6) + 1 for split in range(10)]
    savemat(folder / "train_test_splits_ilidsvid.mat", {"ls_set": np.array(order, np.uint16)})
    litter(root)
    return root


@pytest.fixture
def prid(tmp_path) -> Path:
    """Persons 1, 2, 4 and 6 with 27 frames in both cameras, 3 with 26 in camera B, 201 in both but not the same."""
    root = tmp_path / "prid"
    for camera in ("a", "b"):
        for pid in (1, 2, 3, 4, 6, 201):
            for frame in range(1, 27 if (pid, camera) == (3, "b") else 28):
                folder = root / "prid_2011" / "multi_shot" / f"cam_{camera}" / f"person_{pid:04d}"
                write_picture(folder / f"{frame:04d}.png", frame)
        write_picture(root / "prid_2011" / "single_shot" / f"cam_{camera}" / "person_0001.png", 0)
    write_picture(root / "prid_2011" / "multi_shot" / "cam_a" / "person_0005" / "0001.png", 0)
    litter(root)
    return root


@pytest.fixture
def duke(tmp_path) -> Path:
    """Both name styles; one tracklet starts at F0002; a distractor in the gallery."""
    root = tmp_path / "duke"
    top = root / "DukeMTMC-VideoReID"

    def write(split, pid, tracklet, camid, frames, style="{pid:04d}C{camid}F{frame:04d}X{video}.jpg"):
        for frame in frames:
            name = style.format(pid=pid, camid=camid, frame=frame, video=30000 + 7 * frame + 1000 * tracklet)
            write_picture(top / split / f"{pid:04d}" / f"{tracklet:04d}" / name, 10 * frame)

    underscores = "{pid:04d}_C{camid}_F{frame:04d}_X{video}.jpg"
    write("train", 1, 1, 6, (1, 2, 3))
    write("train", 1, 2, 7, (2, 3), underscores)
    write("train", 12, 3, 8, (1,))
    write("query", 3, 1, 1, (1, 2))
    write("gallery", 3, 5, 2, (9, 10, 11), underscores)
    write("gallery", 40, 6, 3, (1,))
    litter(root)
    return root
