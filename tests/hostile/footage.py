"""Tracks, pictures, videos, and folders of tracklets, as `vreid embed` and the dataset `folder` read them."""

import itertools
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hostile import changes
from hostile.judge import Reader
from vreid_jax.datasets.pictures import fault
from vreid_jax.datasets.tracklet_folder import layout
from vreid_jax.datasets.video.tracks import cut_tracks, read_fps, read_tracks
from vreid_jax.search.sources import open_source

_SIZE = (48, 64)  # of the video's pictures
_FRAMES = 10


def readers() -> list[Reader]:
    """Return the readers of footage."""
    return [
        Reader("tracks", _write_video, _change_tracks, _read_tracks, share=2),
        Reader("video", _write_video, _change_video, _cut, share=0.5),
        Reader("pictures", _write_pictures, _change_picture, _read_pictures, share=1.5),
        Reader("folder for embed", _write_pictures, _change_folder, _read_for_embed, share=1),
        Reader("dataset folder", _write_dataset, _change_folder, _read_dataset, share=2),
    ]


def _picture(seed: int, height: int = 24, width: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def encoded(seed: int, suffix: str = ".jpg") -> bytes:
    """Return a small picture as a file."""
    return cv2.imencode(suffix, _picture(seed))[1].tobytes()


def _write_video(folder: Path) -> None:
    writer = cv2.VideoWriter(str(folder / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, _SIZE[::-1])
    for number in range(_FRAMES):
        writer.write(_picture(number, *_SIZE))
    writer.release()
    lines = [
        f"{frame},{track},{4 * track},{2 + frame},10,20,1,-1,-1,-1"
        for frame in range(1, _FRAMES + 1)
        for track in (1, 2)
    ]
    (folder / "t.txt").write_text("\n".join(lines) + "\n")


def _change_tracks(rng: random.Random, folder: Path) -> tuple[str, None]:
    file = folder / "t.txt"
    if rng.random() < 0.3:
        return changes.file_content(rng, file) if rng.random() < 0.7 else changes.place(rng, file), None
    lines = file.read_text().splitlines()
    row = rng.randrange(len(lines))
    fields = lines[row].split(",")
    column = rng.randrange(len(fields))
    number = rng.choice(
        (*changes.NUMBERS, *changes.NO_NUMBERS, *changes.TEXTS, "-1", "9" * 400, " 1", "1.0", "+1", "١")
    )
    fields[column] = str(number)
    lines[row] = ",".join(fields)
    before = rng.choice(("", "", "", "\ufeff", "\n\n", "# a comment\n", "frame,id,x,y,w,h\n"))
    file.write_text(before + rng.choice(("\n", "\n", "\r\n", "\r")).join(lines), errors="surrogatepass")
    return f"line {row + 1} column {column} = {str(number)[:40]!r}, before it {before!r}", None


def _read_tracks(folder: Path, given: None) -> Any:
    boxes = read_tracks(folder / "t.txt")
    assert all(np.isfinite([box.frame, box.track, box.left, box.top, box.width, box.height]).all() for box in boxes)
    return len(boxes)


def _change_video(rng: random.Random, folder: Path) -> tuple[str, None]:
    file = folder / "v.avi"
    return changes.place(rng, file) if rng.random() < 0.1 else changes.file_content(rng, file), None


def _cut(folder: Path, given: None) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as out:
        return read_fps(folder / "v.avi"), cut_tracks(
            folder / "v.avi", folder / "t.txt", Path(out) / "new", progress=False
        )


def _write_pictures(folder: Path) -> None:
    for person in ("1", "2"):
        for camera in ("c1_a", "c2_b"):
            tracklet = folder / "people" / person / camera
            tracklet.mkdir(parents=True)
            for number in range(3):
                suffix = ".png" if number == 2 else ".jpg"
                (tracklet / f"{number}{suffix}").write_bytes(encoded(number, suffix))


def _change_picture(rng: random.Random, folder: Path) -> tuple[str, None]:
    """Damage a picture, or put one there that states a size, or is of another format."""
    file = rng.choice(changes.files_below(folder))
    if rng.random() < 0.6:
        return f"{file.suffix} {changes.file_content(rng, file)}", None
    height, width = rng.choice(((60_000, 60_000), (1, 2**31 - 1), (0, 5), (20_000, 20_000), (1, 65_535)))
    made = {
        "large png": _png(width, height),
        "large jpeg": _jpeg_of_size(encoded(1), width % 65_536, height % 65_536),
        "text": b"hello",
        "bmp": encoded(1, ".bmp"),
        "gif": b"GIF89a" + bytes(40),
        "one pixel": cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes(),
        "grey": cv2.imencode(".png", np.zeros((9, 5), np.uint8))[1].tobytes(),
        "16 bits": cv2.imencode(".png", np.zeros((9, 5, 3), np.uint16))[1].tobytes(),
        "transparent": cv2.imencode(".png", np.zeros((9, 5, 4), np.uint8))[1].tobytes(),
    }
    kind = rng.choice(sorted(made))
    file.write_bytes(made[kind])
    return f"{file.name}: {kind} of {width}x{height}", None


def _png(width: int, height: int) -> bytes:
    """Return a PNG that states a size and has hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def _jpeg_of_size(good: bytes, width: int, height: int) -> bytes:
    place = good.index(b"\xff\xc0")
    return good[: place + 5] + struct.pack(">HH", height, width) + good[place + 9 :]


def _read_pictures(folder: Path, given: None) -> Any:
    """Read every picture as an embedding does."""
    source = open_source(str(folder / "people"))
    tracklets = source.tracklets
    return [tracklets.read(row, np.arange(int(count))).shape for row, count in enumerate(tracklets.num_frames)]


def _change_folder(rng: random.Random, folder: Path) -> tuple[str, None]:
    if rng.random() < 0.3:
        return changes.file_content(rng, rng.choice(changes.files_below(folder))), None
    return changes.place(rng, rng.choice(sorted(path for path in folder.rglob("*") if path.parent != folder))), None


def _read_for_embed(folder: Path, given: None) -> Any:
    return open_source(str(folder / "people")).tracklets.num_frames.tolist()


def _write_dataset(folder: Path) -> None:
    for split, people in (("train", (1, 2)), ("query", (3,)), ("gallery", (0, 3))):
        for person in people:
            tracklet = folder / "data" / split / f"{person:04d}" / f"c{1 if split == 'query' else 2}_walk"
            tracklet.mkdir(parents=True)
            for number in range(2):
                (tracklet / f"{number}.jpg").write_bytes(encoded(10 * person + number))


def _read_dataset(folder: Path, given: None) -> Any:
    root = layout.find(folder / "data")
    layout.fingerprint(root, "error")
    splits = {
        split: [layout.check_frames(tracklet, "error") for tracklet in layout.list_split(root, split)]
        for split in layout.SPLITS
    }
    layout.check_shared_names(splits["query"], splits["gallery"])
    layout.check_held_out(splits["train"], [*splits["query"], *splits["gallery"]])
    for tracklet in itertools.chain.from_iterable(splits.values()):
        tracklet.tracklet_id.encode()
        assert -(2**63) <= min(tracklet.pid, tracklet.camid) <= max(tracklet.pid, tracklet.camid) < 2**63
        assert all(fault(frame.read_bytes()) is None for frame in tracklet.frames)
    return len(splits["train"])
