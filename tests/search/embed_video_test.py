"""A video without tracks: it is tracked first, and the tracks are kept beside the gallery."""

import json
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


def test_other_tracks_of_the_galleries_own_video_find_whom_they_show(vreid, workdir, walking_block, tmp_path):
    def tracks(name, last):
        lines = [f"{frame},1,{3 * frame - 1},10,12,24,1,-1,-1,-1" for frame in range(1, last + 1)]
        (tmp_path / name).write_text("\n".join(lines))
        return f"--tracks={tmp_path / name}"

    out, model = tmp_path / "gallery.parquet", f"--model={workdir}"
    own, other = tracks("own.txt", 10), tracks("other.txt", 9)
    assert vreid("embed", walking_block, own, model, f"--out={out}", "--quiet")[0] == 0
    for given, expected in ((own, []), (other, [("track0001", None)])):
        code, printed, said = vreid("search", out, f"--query={walking_block}", given, model, "--json")
        assert code == 0, said
        (query,) = json.loads(printed)["queries"]
        assert [(match["tracklet_id"], match["same_person"]) for match in query["matches"]] == expected
