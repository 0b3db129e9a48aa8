"""A video without tracks: it is tracked first, and the tracks are kept beside the gallery."""

import shutil

import cv2
import numpy as np
import pytest

from vreid_jax.search import open_gallery
from vreid_jax.tracking import detection

pytest.importorskip("pyarrow")


@pytest.fixture
def video(tmp_path, monkeypatch):
    """Ten frames of a bright block that walks to the right, and a detector that finds it in place of hog."""
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (64, 48))
    for number in range(10):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[10:34, 2 + 3 * number : 14 + 3 * number] = 255
        writer.write(frame)
    writer.release()

    def bright(frame):
        rows, columns = np.nonzero(frame[..., 0] > 128)
        left, top = columns.min(), rows.min()
        return np.array([[left, top, columns.max() + 1 - left, rows.max() + 1 - top]]), np.array([0.9])

    monkeypatch.setitem(detection._MAKERS, "hog", lambda rest: bright)
    return path


def test_a_video_without_tracks_is_tracked_first(vreid, workdir, video, tmp_path):
    out = tmp_path / "gallery.parquet"
    code, printed, said = vreid("embed", video, f"--model={workdir}", f"--out={out}", "--quiet")
    assert code == 0, said
    assert printed.startswith(f"{out}: 1 tracklets in ")
    tracks = tmp_path / "gallery.tracks.txt"
    assert f"tracks: {video} is tracked first; they are kept in {tracks}" in said
    assert len(tracks.read_text().splitlines()) == 10
    gallery = open_gallery(out)
    assert (gallery.columns["first_frame"].tolist(), gallery.columns["last_frame"].tolist()) == ([1], [10])
    assert gallery.columns["end_seconds"].tolist() == [1.8]
    out.unlink()  # as if the first call had been killed while it embedded
    code, _, said = vreid("embed", video, f"--model={workdir}", f"--out={out}", "--quiet")
    assert code == 0, said
    assert f"tracks: those of an earlier start, {tracks}" in said
    out.unlink()
    other = shutil.copy(video, tmp_path / "other.avi")
    for flags in ((other,), (video, "--detector=onnx:yolox.onnx")):
        code, _, said = vreid("embed", *flags, f"--model={workdir}", f"--out={out}", "--quiet")
        assert code == 2
        assert f"{tracks} was not made from {flags[0]} by " in said
        assert len(said.splitlines()) == 1


def test_a_camera_that_cannot_be_is_said_before_the_video_is_tracked(vreid, video, tmp_path):
    code, _, said = vreid("embed", video, "--model=missing", f"--out={tmp_path / 'g.parquet'}", "--camera=-1")
    assert code == 2
    assert "--camera=-1 must be the number of a camera" in said
    assert list(tmp_path.iterdir()) == [video]
