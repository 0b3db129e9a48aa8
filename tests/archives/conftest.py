"""Two small videos with their tracks, a manifest of them, and a model without training."""

import cv2
import numpy as np
import pytest

pytest.importorskip("pyarrow")

HEIGHT, WIDTH, FRAMES = 48, 64, 12
# Of each video its tracks: first frame, last frame, left edge in the first one.
TRACKS = {"north": {1: (1, 8, 2), 2: (5, 12, 30)}, "south": {1: (2, 7, 8)}}


def draw(path, seed):
    """Write a video of noise in blocks, another one for each seed."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (WIDTH, HEIGHT))
    random = np.random.default_rng(seed)
    for _ in range(FRAMES):
        blocks = random.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
        writer.write(cv2.resize(blocks, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST))
    writer.release()


@pytest.fixture(name="draw")
def draw_fixture():
    return draw


@pytest.fixture
def street(tmp_path):
    """A folder with `north.avi`, `south.avi`, their tracks, and `cameras.csv`."""
    folder = tmp_path / "street"
    folder.mkdir()
    lines = ["video,camera,start,tracks"]
    for camera, (name, tracks) in enumerate(TRACKS.items(), 1):
        draw(folder / f"{name}.avi", camera)
        rows = [
            f"{frame},{track},{left + frame - first},8,12,24,1,-1,-1,-1"
            for track, (first, last, left) in tracks.items()
            for frame in range(first, last + 1)
        ]
        (folder / f"{name}.txt").write_text("\n".join(rows) + "\n")
        lines.append(f"{name}.avi,{camera},2026-03-02T00:30:00+01:00,{name}.txt")
    (folder / "cameras.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def model(toy_module, untrained):
    return untrained(toy_module.get_config("walkers"))
