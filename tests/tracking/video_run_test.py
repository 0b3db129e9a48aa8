"""A whole video from frames to tracks: what is written, what an interruption leaves, and every wrong input."""

import contextlib
import json
import os
import shutil
import signal

import cv2
import numpy as np
import pytest

from vreid_jax.cli.command import main
from vreid_jax.datasets.video.track_file import read_tracks
from vreid_jax.errors import InputError, Interrupted
from vreid_jax.tracking import run, streams, track_video, unfinished
from vreid_jax.tracking.association import TrackSettings
from vreid_jax.tracking.preview import write_preview

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


def test_an_interrupted_run_goes_on_to_the_same_tracks(video, tmp_path):
    track_video(video, tmp_path / "whole.txt", detector=bright)
    calls = []

    def interrupted(frame):
        calls.append(1)
        if len(calls) == 13:
            os.kill(os.getpid(), signal.SIGINT)
        return bright(frame)

    interrupted.__qualname__ = bright.__qualname__
    out = tmp_path / "tracks.txt"
    with pytest.raises(Interrupted, match="interrupted after frame 13; run the same command again"):
        track_video(video, out, detector=interrupted)
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


class FakeCamera:
    """A camera that shows a block, and is gone after some frames."""

    def __init__(self, frames):
        self.left = frames

    def isOpened(self):
        return True

    def read(self):
        self.left -= 1
        frame = np.zeros((*SIZE, 3), np.uint8)
        frame[10:34, 20:28] = 255
        return (True, frame) if self.left >= 0 else (False, None)

    def grab(self):
        return self.read()[0]

    def get(self, _):
        return 0.0

    def release(self):
        pass


def test_a_camera_that_is_gone_leaves_the_tracks_until_then(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "newest_frames", None)

    def frames(stream, fps):
        assert fps <= 15
        for number in range(1, 13):
            yield number, cv2.cvtColor(stream.first, cv2.COLOR_BGR2RGB)
        raise streams.CameraGone("camera 3 is gone: it gave no picture for 10 seconds")

    monkeypatch.setattr(run, "newest_frames", frames)
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: FakeCamera(1))
    out, record = tmp_path / "tracks.txt", tmp_path / "seen.avi"
    with pytest.raises(
        streams.CameraGone, match=r"camera 3 is gone: .* seconds; the tracks until then are in .*tracks\.txt"
    ):
        track_video("3", out, detector=bright, record=record)
    assert len(read_tracks(out)) == 12
    monkeypatch.undo()
    write_preview(str(record), read_tracks(out), tmp_path / "preview.avi")
    assert (tmp_path / "preview.avi").stat().st_size > 0


class Watched:
    """A camera of 15 frames a second on a clock of its own: the network stalls from second 2 to 7, and it is gone at 10."""

    def __init__(self, reader=None):
        self.now, self.came = 100.0, 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def take(self):
        came = (round((self.now - 100) * 15) + 0.1) / 15  # a tenth of a frame late
        came = max(came, self.came + 1 / 15)
        self.came = came if came < 2 or came >= 7 else 7.0
        self.now = max(self.now, 100 + self.came)
        if came >= 10:
            return None
        frame = np.zeros((*SIZE, 3), np.uint8)
        frame[10:34, 20 + int(self.came) : 28 + int(self.came)] = 255
        return frame, 100 + self.came

    def close(self):
        pass


@pytest.fixture
def watched(monkeypatch):
    clock, opened = Watched(), cv2.VideoCapture
    monkeypatch.setattr(streams, "time", clock)
    monkeypatch.setattr(streams, "_Newest", lambda reader: clock)
    monkeypatch.setattr(run, "_live_fps", lambda *_: 15.0)
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: FakeCamera(1) if isinstance(name, int) else opened(name))
    return clock


def test_a_frame_of_a_camera_is_numbered_by_its_time(watched):
    seen = []
    with streams.open_stream("0") as stream, contextlib.suppress(streams.CameraGone):
        for number, _ in streams.newest_frames(stream, 15.0):
            seen.append((number, watched.now - 100))
            if number == 120:
                watched.now += 1.0  # whoever looks at it is slow for once
    numbers = [number for number, _ in seen]
    assert numbers == [*range(1, 31), *range(106, 121), *range(135, 151)]
    for number, now in seen:
        assert abs((number - 1) / 15 - now) <= 1 / 15


def test_tracks_and_recording_keep_time_where_a_camera_stalls(watched, tmp_path):
    out, record = tmp_path / "tracks.txt", tmp_path / "seen.avi"
    with pytest.raises(streams.CameraGone):
        track_video("3", out, detector=bright, record=record)
    frames = [box.frame for box in read_tracks(out)]
    assert frames == [*range(1, 31), *range(106, 151)]
    with streams.open_stream(str(record)) as stream:
        assert (stream.fps, stream.frames) == (15.0, 150)
        left = [np.flatnonzero(frame[20, :, 0] > 128)[0] for frame in streams.frames_of(stream)]
    assert set(left[15:105]) == {21}, "the last picture stands while there is no other"
    assert set(left[105:120]) == {27}


def test_frames_means_those_that_are_looked_at_also_of_a_camera_that_stalls(watched, tmp_path):
    done = track_video("3", tmp_path / "tracks.txt", detector=bright, most_frames=40)
    assert (done.frames, done.boxes) == (40, 40)
    assert max(box.frame for box in read_tracks(tmp_path / "tracks.txt")) == 115


def failing(after, error):
    """A detector that fails at its frame `after`."""
    calls = []

    def detect(frame):
        calls.append(1)
        if len(calls) == after:
            raise error
        return bright(frame)

    return detect


def test_what_was_tracked_of_a_camera_is_written_before_an_error_is_raised(watched, tmp_path, caplog):
    out, record = tmp_path / "tracks.txt", tmp_path / "seen.avi"
    with pytest.raises(RuntimeError, match="one bad frame"):
        track_video("3", out, detector=failing(25, RuntimeError("one bad frame")), record=record)
    assert len(read_tracks(out)) == 24
    assert caplog.messages == [f"tracking failed after 25 frames; the tracks until then are in {out}"]
    assert not (tmp_path / "tracks.txt.parts").exists()
    assert cv2.VideoCapture(str(record)).get(cv2.CAP_PROP_FRAME_COUNT) == 25
    with pytest.raises(RuntimeError, match="one bad frame"):
        track_video("3", tmp_path / "none.txt", detector=failing(1, RuntimeError("one bad frame")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seen.avi", "tracks.txt"]


def test_a_second_interruption_of_a_camera_that_stalls_loses_nothing(watched, tmp_path):
    done = track_video("3", tmp_path / "tracks.txt", detector=failing(25, KeyboardInterrupt()))
    assert done.boxes == len(read_tracks(tmp_path / "tracks.txt")) == 24


def test_what_cannot_be_written_of_a_camera_is_kept(watched, tmp_path, monkeypatch, caplog):
    out = tmp_path / "tracks.txt"

    def full(held, out):
        raise InputError("cannot write: no space")

    monkeypatch.setattr(unfinished.Unfinished, "finish", full)
    with pytest.raises(InputError, match="no space"):
        track_video("3", out, detector=bright, most_frames=20)
    rows = tmp_path / "tracks.txt.parts" / "rows.txt"
    assert len(read_tracks(rows)) == 20
    assert caplog.messages == [f"what was tracked until then is in {rows}"]


def test_what_a_killed_run_saw_of_a_camera_is_moved_beside_the_tracks(watched, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(run, "SAVE_SECONDS", 0.0)
    out, parts, killed = tmp_path / "tracks.txt", tmp_path / "tracks.txt.parts", tmp_path / "tracks.txt.parts.killed"
    frames = []

    def copied(frame):
        frames.append(frame)
        if len(frames) == 73:  # a kill would leave this
            shutil.copytree(parts, killed)
        return bright(frame)

    settings = TrackSettings(remember_seconds=0.5, lost_seconds=0.5)
    track_video("3", out, detector=copied, most_frames=73, settings=settings)
    for name in ("tracks.killed.txt", "tracks.killed-2.txt"):
        shutil.copytree(killed, parts)
        with (parts / "rows.txt").open("a") as rows:
            rows.write("1000,1,20.0")  # half a line
        out.unlink()
        watched.__init__()
        track_video("3", out, detector=bright, most_frames=9)
        assert [box.frame for box in read_tracks(tmp_path / name)] == [*range(1, 31), *range(106, 136)]
        assert caplog.messages.pop() == (
            f"an earlier start for {out} was killed: what it had tracked is now in {tmp_path / name}"
        )
        assert len(read_tracks(out)) == 9


def test_a_live_stream_is_looked_at_as_often_as_detector_and_recording_allow(tmp_path, monkeypatch):
    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()

    def slow(frame):
        clock.now += 0.06
        return bright(frame)

    def write(writer, frame):
        clock.now += 0.04

    monkeypatch.setattr(run, "time", clock)
    monkeypatch.setattr(run, "write_frame", write)
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: FakeCamera(1))
    with streams.open_stream("0") as stream:
        assert run._live_fps(stream, slow, None) == 13.33  # two decimals: what a video states
        assert run._live_fps(stream, slow, tmp_path / "seen.avi") == 8.0


def test_the_newest_picture_is_taken_until_there_is_none(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: FakeCamera(5))
    with streams.open_stream("0") as stream:
        assert stream.live
        with pytest.raises(streams.CameraGone, match="camera 0 is gone"):
            list(streams.newest_frames(stream, 50.0))


def test_the_password_of_an_address_is_not_shown(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: FakeCamera(0))
    with pytest.raises(InputError) as error, streams.open_stream("rtsp://me:secret@10.0.0.7/1"):
        pass
    assert str(error.value).startswith("rtsp://10.0.0.7/1 gives no picture")


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
    from vreid_jax.tracking import detection

    monkeypatch.setitem(detection._MAKERS, "hog", lambda rest: bright)
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
