"""A camera or a stream, which nobody can look at twice: its clock, its gaps, and what an error or a kill leaves of it."""

import contextlib
import shutil

import cv2
import numpy as np
import pytest

from vreid_jax.datasets.video.track_file import read_tracks
from vreid_jax.errors import InputError
from vreid_jax.tracking import run, streams, track_video, unfinished
from vreid_jax.tracking.association import TrackSettings
from vreid_jax.tracking.preview import write_preview

SIZE = (48, 96)  # height and width


def bright(frame):
    """A detector of bright blocks."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((frame[..., 0] > 128).astype(np.uint8))
    return stats[1:count, :4], np.full(count - 1, 0.9)


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

    def retrieve(self):
        raise NotImplementedError

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
        self.now, self.came = 100.0, -1 / 15

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


def test_what_is_done_before_the_first_frame_does_not_count(watched):
    with streams.open_stream("0") as stream:
        watched.now += 1.5  # the detector is loaded
        frames = streams.newest_frames(stream, 15.0)
        seen = [(next(frames)[0], watched.now) for _ in range(5)]
        frames.close()
    for number, now in seen:
        assert abs((number - 1) / 15 - (now - seen[0][1])) <= 1 / 15


def test_tracks_and_recording_keep_time_where_a_camera_stalls(watched, tmp_path):
    out, record = tmp_path / "tracks.txt", tmp_path / "seen.avi"
    with pytest.raises(streams.CameraGone):
        track_video("3", out, detector=bright, record=record)
    frames = [box.frame for box in read_tracks(out)]
    assert frames == [*range(1, 31), *range(106, 151)]
    with streams.open_stream(str(record)) as stream:
        assert (stream.fps, stream.frames) == (15.0, 150)
        left = [np.flatnonzero(frame[20, :, 0] > 128)[0] for _, frame in streams.frames_of(stream)]
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
