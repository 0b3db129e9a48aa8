"""Published datasets as their authors packed them: folders, archives, lists and MATLAB tables."""

import io
import json
import random
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat, savemat

from hostile import changes
from hostile.footage import encoded
from hostile.judge import Reader
from vreid_jax.datasets.duke_video import layout as duke
from vreid_jax.datasets.ilids_vid import layout as ilids
from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import Listing, count
from vreid_jax.datasets.manual.matlab import read_table
from vreid_jax.datasets.mars_video import layout as mars
from vreid_jax.datasets.prid2011_video import layout as prid

_PICTURES = {suffix: encoded(1, suffix) for suffix in (".jpg", ".png")}


def readers() -> list[Reader]:
    """Return the readers of published datasets."""
    layouts = {
        "mars": (_write_mars, lambda files: mars.list_tracklets(files)),
        "ilids_vid": (_write_ilids, lambda files: ilids.list_tracklets(files, 3)),
        "prid2011": (_write_prid, lambda files: prid.list_tracklets(files, 3)),
        "duke_video": (_write_duke, lambda files: duke.list_tracklets(files)),
    }
    found = [Reader(name, write, _change, _reading(lister)) for name, (write, lister) in layouts.items()]
    found += [
        Reader("zip archive", _packed(_write_duke, _zip), _change_archive, _reading(duke.list_tracklets)),
        Reader("tar archive", _packed(_write_duke, _tar), _change_archive, _reading(duke.list_tracklets)),
        Reader("MATLAB table", _write_table, _change_table, _read_table, share=1.5),
    ]
    return found


def _reading(lister):
    """Return what lists a dataset and reads all of its pictures, as building it does."""

    def read(folder: Path, given: None) -> Any:
        with ManualFiles(folder / "manual") as files:
            listing: Listing = lister(files)
            for tracklet in (*listing.train, *listing.query, *listing.gallery):
                tracklet.tracklet_id.encode()
                assert abs(tracklet.pid) < 2**63
                for frame in tracklet.frames:
                    files.picture(frame)
        return count(listing)

    return read


def _put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_PICTURES[path.suffix])


def _write_mars(folder: Path) -> None:
    root = folder / "manual"
    (root / "info").mkdir(parents=True)
    rows = {"train": [("0001", 1, 1, 2), ("0007", 7, 6, 2)], "test": [("00-1", -1, 1, 1), ("0000", 0, 3, 2), ("0002", 2, 1, 2), ("0002", 2, 4, 1)]}  # fmt: skip
    for split, tracklets in rows.items():
        names, table = [], []
        for person, pid, camid, frames in tracklets:
            table.append([len(names) + 1, len(names) + frames, pid, camid])
            names += [f"{person}C{camid}T0001F{frame:03d}.jpg" for frame in range(1, frames + 1)]
        for name in names:
            _put(root / f"bbox_{split}" / name[:4] / name)
        (root / "info" / f"{split}_name.txt").write_text("\n".join(names) + "\n")
        savemat(root / "info" / f"tracks_{split}_info.mat", {f"track_{split}_info": np.array(table, np.int32)})
    savemat(root / "info" / "query_IDX.mat", {"query_IDX": np.array([[3]], np.uint16)})


def _write_ilids(folder: Path) -> None:
    for camid in (1, 2):
        for pid in (1, 2, 5):
            person = folder / "manual" / "i-LIDS-VID" / "sequences" / f"cam{camid}" / f"person{pid:03d}"
            for frame in (98, 100):
                _put(person / f"cam{camid}_person{pid:03d}_{frame}.png")
    order = [np.random.default_rng(split).permutation(3) + 1 for split in range(10)]
    savemat(folder / "manual" / "train_test_splits_ilidsvid.mat", {"ls_set": np.array(order, np.uint16)})


def _write_prid(folder: Path) -> None:
    for camera in ("cam_a", "cam_b"):
        for pid in (1, 2, 201):
            for frame in (1, 2):
                _put(folder / "manual" / "prid_2011" / "multi_shot" / camera / f"person_{pid:04d}" / f"{frame:04d}.png")
    halves = {"train": ["person_0001"], "test": ["person_0002"]}
    (folder / "manual" / "splits_prid2011.json").write_text(json.dumps([halves] * 10))


def _write_duke(folder: Path) -> None:
    for split, pid, tracklet, camid in (("train", 1, 1, 6), ("train", 12, 2, 8), ("query", 3, 3, 1), ("gallery", 3, 4, 2), ("gallery", 40, 5, 3)):  # fmt: skip
        for frame in (1, 2):
            name = f"{pid:04d}C{camid}F{frame:04d}X{30000 + 10 * tracklet + frame}.jpg"
            _put(folder / "manual" / "DukeMTMC-VideoReID" / split / f"{pid:04d}" / f"{tracklet:04d}" / name)


def _change(rng: random.Random, folder: Path) -> tuple[str, None]:
    root = folder / "manual"
    tables = sorted(root.rglob("*.mat"))
    texts = sorted([*root.rglob("*.txt"), *root.rglob("*.json")])
    if tables and rng.random() < 0.35:
        return _change_mat(rng, rng.choice(tables)), None
    if texts and rng.random() < 0.35:
        file = rng.choice(texts)
        good = file.read_text()
        changed, done = changes.json_text(rng, good) if file.suffix == ".json" else (changes.text(rng, good), "text")
        file.write_text(changed, errors="surrogatepass")
        return f"{file.name}: {done}", None
    return changes.file_or_place(rng, root), None


def _change_mat(rng: random.Random, file: Path) -> str:
    """Change the bytes of a MATLAB file, or write one with another table."""
    if rng.random() < 0.4:
        return changes.file_content(rng, file)
    key, table = next((name, table) for name, table in loadmat(file).items() if not name.startswith("__"))
    table = table.astype(float)
    kind = rng.choice(("number", "shape", "kind", "name", "empty", "two"))
    if kind == "number":
        table.flat[rng.randrange(table.size)] = rng.choice((0, -1, 1.5, 1e18, 1e19, 1e300, np.nan, np.inf, 2**53))
    made: dict[str, Any] = {
        "number": table,
        "shape": rng.choice((table.ravel(), table.T, table[:, :-1], table[None], table[:1], np.tile(table, (2, 1)))),
        "kind": rng.choice(
            (
                table.astype(str),
                table + 1j,
                table.astype(object),
                table > 1,
                table.astype(np.uint64) + 2**63,
                {"a": table},
            )
        ),
        "name": table,
        "empty": np.zeros((0, 4)),
        "two": table,
    }
    content = {("other" if kind == "name" else key): made[kind]} | ({"more": table} if kind == "two" else {})
    with file.open("wb") as opened:
        savemat(
            opened,
            content,
            do_compression=rng.random() < 0.3,
            format=rng.choice(("5", "5", "4")) if kind == "number" else "5",
        )
    return f"{file.name}: another {kind}"


def _packed(write, pack):
    """Return what writes a dataset as one archive."""

    def make(folder: Path) -> None:
        write(folder)
        top = folder / "manual" / "DukeMTMC-VideoReID"
        names = {str(path.relative_to(top.parent)): path.read_bytes() for path in changes.files_below(top)}
        for path in sorted(top.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        top.rmdir()
        pack(folder / "manual", names)

    return make


def _zip(folder: Path, names: dict[str, bytes]) -> None:
    with zipfile.ZipFile(folder / "duke.zip", "w") as archive:
        for name, data in names.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def _tar(folder: Path, names: dict[str, bytes]) -> None:
    with tarfile.open(folder / "duke.tar", "w") as archive:
        for name, data in names.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _change_archive(rng: random.Random, folder: Path) -> tuple[str, None]:
    """Change bytes of an archive, or pack one with names and members of any kind; nothing of it may be unpacked."""
    file = changes.files_below(folder / "manual")[0]
    if rng.random() < 0.6:
        return changes.file_content(rng, file), None
    name = rng.choice(("../../out.jpg", "/out.jpg", "train/../../x", "DukeMTMC-VideoReID/train/0001/0001/²C1F1X1.jpg", "a" * 300, "a/" * 200, "query", "\ufeff", "DukeMTMC-VideoReID/train"))  # fmt: skip
    if file.suffix == ".zip":
        kind = rng.choice(("name", "twice", "large"))
        with warnings.catch_warnings(), zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
            warnings.simplefilter("ignore", UserWarning)  # of a name that is there twice
            if kind == "large":
                name = "DukeMTMC-VideoReID/train/0001/0001/0001C6F0009X40001.jpg"
                archive.writestr(name, bytes(300 << 20), compresslevel=1)
            for _ in range(1 + (kind == "twice")):
                archive.writestr(zipfile.ZipInfo(name), _PICTURES[".jpg"]) if kind != "large" else None
        return f"zip with {kind} {name!r}", None
    with tarfile.open(file, "a") as archive:
        info = tarfile.TarInfo(name)
        info.type = rng.choice(
            (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)
        )
        info.linkname = rng.choice(("/etc/passwd", "..", name))
        archive.addfile(info)
    if rng.random() < 0.5:  # a size that a header cannot have
        data = bytearray(file.read_bytes())
        size = rng.choice(
            (
                b"77777777777\0",
                b"\x80" + struct.pack(">xxxQ", 2**62),
                b"\xff" + struct.pack(">xxxq", -1024),
                b"-0000001024\0",
            )
        )
        start = 512 * 2 * rng.randrange(3)
        data[start + 124 : start + 136] = size
        data[start + 148 : start + 156] = b" " * 8
        data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
        file.write_bytes(data)
        return f"tar with a size {size!r} at {start}", None
    return f"tar with {info.type!r} {name!r}", None


def _write_table(folder: Path) -> None:
    (folder / "manual").mkdir()
    savemat(folder / "manual" / "t.mat", {"t": np.arange(12, dtype=np.int32).reshape(3, 4)})


def _change_table(rng: random.Random, folder: Path) -> tuple[str, None]:
    return _change_mat(rng, folder / "manual" / "t.mat"), None


def _read_table(folder: Path, given: None) -> Any:
    with ManualFiles(folder / "manual") as files:
        table = read_table(files, "t.mat", "t")
    assert table.dtype == np.int64
    assert np.abs(table).max() < 2**53
    return table
