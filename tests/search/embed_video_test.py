"""A video without tracks: it is tracked first, and the tracks are kept beside the gallery."""

import shutil

import cv2
import numpy as np
import pytest

from vreid_jax.search import open_gallery

pytest.importorskip("pyarrow")


def test_a_video_without_tracks_is_tracked_first(vreid, workdir, walking_block, tmp_path):
    out = tmp_path / "gallery.parquet"
    code, printed, said = vreid("embed", walking_block, f"--model={workdir}", f"--out={out}", "--quiet")
    assert code == 0, said
    assert printed.startswith(f"{out}: 1 tracklets in ")
    tracks = tmp_path / "gallery.tracks.txt"
    assert f"tracks: {walking_block} is tracked first; they are kept in {tracks}" in said
    assert len(tracks.read_text().splitlines()) == 10
    gallery = open_gallery(out)
    assert (gallery.columns["first_frame"].tolist(), gallery.columns["last_frame"].tolist()) == ([1], [10])
    assert gallery.columns["end_seconds"].tolist() == [1.8]
    out.unlink()  # as if the first call had been killed while it embedded
    code, _, said = vreid("embed", walking_block, f"--model={workdir}", f"--out={out}", "--quiet")
    assert code == 0, said
    assert f"tracks: those of an earlier start, {tracks}" in said
    out.unlink()
    other = shutil.copy(walking_block, tmp_path / "other.avi")
    for flags in ((other,), (walking_block, "--detector=onnx:yolox.onnx")):
        code, _, said = vreid("embed", *flags, f"--model={workdir}", f"--out={out}", "--quiet")
        assert code == 2
        assert f"{tracks} was not made from {flags[0]} by " in said
        assert len(said.splitlines()) == 1


def test_a_video_that_cannot_be_tracked_leaves_nothing(vreid, workdir, walking_block, tmp_path):
    blank = tmp_path / "blank.avi"
    writer = cv2.VideoWriter(str(blank), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (160, 120))
    writer.write(np.zeros((120, 160, 3), np.uint8))
    writer.release()
    for flags, words in (
        ((walking_block, "--detector=nonsense"), "there is no detector 'nonsense'"),
        ((blank,), "hog found no people in"),
    ):
        out = tmp_path / "gallery.parquet"
        code, _, said = vreid("embed", *flags, f"--model={workdir}", f"--out={out}", "--quiet")
        assert code == 2
        assert words in said
        assert sorted(tmp_path.iterdir()) == sorted([walking_block, blank])


def test_a_camera_that_cannot_be_is_said_before_the_video_is_tracked(vreid, walking_block, tmp_path):
    code, _, said = vreid("embed", walking_block, "--model=missing", f"--out={tmp_path / 'g.parquet'}", "--camera=-1")
    assert code == 2
    assert "--camera=-1 must be the number of a camera" in said
    assert list(tmp_path.iterdir()) == [walking_block]
