"""A whole video from frames to tracks: what is written, what an interruption leaves, and every wrong input."""

import json

import cv2
import numpy as np
import pytest

from vreid_jax.cli.command import main
from vreid_jax.datasets.video.track_file import read_tracks
from vreid_jax.errors import InputError, Interrupted
from vreid_jax.tracking import run, track_video

SIZE = (48, 96)  # height and width
FRAMES = 30


def place(frame, person):
    """Where a bright block is in a frame (from 1): one walks to the right, the other comes later and stands."""
    return (4 + 2 * frame, 10, 8, 24) if person == 0 else (80, 12, 8, 24)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, SIZE[::-1])
    for frame in range(1, FRAMES + 1):
        picture = np.zeros((*SIZE, 3), np.uint8)
        for person in range(2 if frame > 8 else 1):
            x, y, w, h = place(frame, person)
            picture[y : y + h, x : x + w] = 255
        writer.write(picture)
    writer.release()
    return str(path)


def bright(frame):
    """A detector of bright blocks."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((frame[..., 0] > 128).astype(np.uint8))
    return stats[1:count, :4], np.full(count - 1, 0.9)


def test_tracks_are_the_people_of_the_video(video, tmp_path):
    done = track_video(video, tmp_path / "tracks.txt", detector=bright, preview=tmp_path / "preview.avi")
    assert (done.frames, done.resumed, done.tracks, done.fps) == (FRAMES, 0, 2, 10.0)
    boxes = read_tracks(tmp_path / "tracks.txt")
    assert done.boxes == len(boxes) == FRAMES + FRAMES - 8
    for box in boxes:
        found = (box.left, box.top, box.width, box.height)
        np.testing.assert_allclose(found, place(box.frame, box.track - 1), atol=1)
    assert not (tmp_path / "tracks.txt.parts").exists()
    reader = cv2.VideoCapture(str(tmp_path / "preview.avi"))
    frames = [reader.read()[1] for _ in range(FRAMES)]
    assert not reader.read()[0]
    assert np.ptp(frames[5].reshape(-1, 3).astype(int), axis=1).max() > 100  # colours, in a grey video


def test_an_interrupted_run_goes_on_to_the_same_tracks(video, tmp_path, stopped_at):
    track_video(video, tmp_path / "whole.txt", detector=bright)
    out = tmp_path / "tracks.txt"
    with pytest.raises(Interrupted, match="interrupted after frame 13; run the same command again"):
        track_video(video, out, detector=stopped_at(bright, 13))
    assert not out.exists()
    with (tmp_path / "tracks.txt.parts" / "rows.txt").open("a") as rows:
        rows.write("14,1,what a killed process had appended")
    with pytest.raises(InputError, match="holds the beginning of other tracks"):
        track_video(video, out, detector=lambda frame: bright(frame))
    done = track_video(video, out, detector=bright)
    assert (done.resumed, done.frames) == (13, FRAMES)
    assert out.read_text() == (tmp_path / "whole.txt").read_text()


def test_a_killed_run_goes_on_from_its_last_state(video, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SAVE_SECONDS", 0.0)
    track_video(video, tmp_path / "whole.txt", detector=bright)

    def killed(frame):
        boxes, scores = bright(frame)
        if boxes[0, 0] > 40:
            raise MemoryError
        return boxes, scores

    killed.__qualname__ = bright.__qualname__
    with pytest.raises(MemoryError):
        track_video(video, tmp_path / "tracks.txt", detector=killed)
    done = track_video(video, tmp_path / "tracks.txt", detector=bright)
    assert 5 < done.resumed < FRAMES
    assert (tmp_path / "tracks.txt").read_text() == (tmp_path / "whole.txt").read_text()


def test_a_video_without_people_leaves_nothing(video, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SAVE_SECONDS", 0.0)
    with pytest.raises(InputError, match="the detector found no people in"):
        track_video(video, tmp_path / "tracks.txt", detector=lambda frame: (np.zeros((0, 4)), np.zeros(0)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk.avi"]


def test_wrong_inputs_are_one_sentence_and_leave_nothing(video, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no video")
    (tmp_path / "there.txt").write_text("mine")
    empty = tmp_path / "empty.avi"
    writer = cv2.VideoWriter(str(empty), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (128, 128))
    for _ in range(3):
        writer.write(np.zeros((128, 128, 3), np.uint8))
    writer.release()
    out = tmp_path / "out.txt"
    before = sorted(tmp_path.iterdir())
    cases = [
        ([tmp_path / "gone.avi"], "gone.avi does not exist"),
        ([tmp_path / "notes.txt"], "notes.txt is not a video: OpenCV finds no frame in it"),
        ([""], "the video is empty"),
        (["97"], "there is no camera 97"),
        ([video, "--detector=yolo"], "there is no detector 'yolo'"),
        ([video, f"--detector=onnx:{tmp_path / 'gone.onnx'}"], "gone.onnx does not exist"),
        ([video, f"--preview={tmp_path / 'x.gif'}"], "must end in .webm, .mp4, .avi"),
        ([video, f"--preview={video}"], "exists already: name another file for the preview"),
        ([video, f"--record={tmp_path / 'x.avi'}"], "a recording is made of a camera or a stream"),
        ([video, "--frames=-1"], "--frames=-1 must not be negative"),
        ([empty], "hog found no people in"),
    ]
    for arguments, words in cases:
        assert main(["track", *map(str, arguments), f"--out={out}", "--model=none", "--quiet"]) == 2, arguments
        said = capsys.readouterr()
        assert words in said.err, said.err
        assert len(said.err.splitlines()) == 1, said.err
        assert said.out == ""
    for name, words in (("there.txt", "exists already"), ("no/folder.txt", "the folder of")):
        assert main(["track", video, f"--out={tmp_path / name}", "--model=none"]) == 2
        assert words in capsys.readouterr().err
    assert (tmp_path / "there.txt").read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_prints_what_it_did(video, tmp_path, capsys, monkeypatch):
    from vreid_jax.tracking import detectors

    monkeypatch.setitem(detectors._MAKERS, "hog", lambda rest: bright)
    assert (
        main(["track", video, f"--out={tmp_path / 't.txt'}", "--model=none", "--quiet", "--frames=20", "--json"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert (told["tracks"], told["frames"], told["boxes"], told["detector"]) == (2, 20, 32, "hog")
    assert main(["track", video, f"--out={tmp_path / 'u.txt'}", "--model=none", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'u.txt'}: 2 tracks, 52 boxes in 30 frames, by hog at ")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out=same.webm", "--preview=./same.webm"], "is named for the tracks and for the preview: name two files"),
        (["--out=t.txt", "--preview=p.gif"], "the name of the preview, p.gif, must end in .webm"),
    ],
)
def test_wrong_outputs_are_refused_before_the_video_is_opened(tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(tmp_path)
    assert main(["track", "missing.avi", "--model=missing", *flags]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
