"""Videos as they are: rates and times that only timestamps tell, frames without a picture, and ends that come too early."""

import json
import os
import struct

import cv2
import numpy as np
import pytest

from vreid_jax.datasets.video import reading
from vreid_jax.datasets.video.tracks import cut_tracks, read_fps
from vreid_jax.errors import InputError
from vreid_jax.search import open_source
from vreid_jax.tracking.streams import frames_of, open_stream


def write_matroska(path, pictures, milliseconds, duration=None):
    """Write pictures, uint8 `[H, W, 3]`, with a time for each, and no rate; without a duration as a browser's recorder."""
    height, width = pictures[0].shape[:2]
    video = _element("E0", _element("B0", _number(width)) + _element("BA", _number(height)))
    about = _element("D7", b"\1") + _element("73C5", b"\1") + _element("83", b"\1") + _element("86", b"V_MJPEG")
    clusters = b"".join(
        _element("1F43B675", _element("E7", _number(time)) + _element("A3", b"\x81\0\0\x80" + _jpeg(picture)))
        for picture, time in zip(pictures, milliseconds, strict=True)
    )
    clock = _element("2AD7B1", _number(1_000_000))  # nanoseconds a tick
    if duration:
        clock += _element("4489", struct.pack(">d", duration))
    information = _element("1549A966", clock)
    tracks = _element("1654AE6B", _element("AE", about + video))
    head = _element("1A45DFA3", _element("4282", b"matroska"))
    path.write_bytes(head + _element("18538067", information + tracks + clusters))


def _jpeg(picture):
    return cv2.imencode(".jpg", picture)[1].tobytes()


def _number(value):
    return value.to_bytes(4, "big")


def _element(identifier, content):
    """Return an element of EBML with its length in eight bytes."""
    return bytes.fromhex(identifier) + (1 << 56 | len(content)).to_bytes(8, "big") + content


def pictures(count):
    return [np.full((24, 32, 3), 4 * n, np.uint8) for n in range(count)]


def both_rates(path):
    with open_stream(str(path)) as stream:
        frame = cv2.cvtColor(stream.reader.read()[1], cv2.COLOR_BGR2RGB)
        assert abs(frame.mean() - 4) < 3  # the second one: measuring moves nothing on
        return stream.fps, read_fps(path)


def test_a_recording_of_a_browser_has_the_rate_of_its_timestamps(tmp_path):
    times = [33 * n + (0, 0, 1, 5, 12)[n % 5] for n in range(61)]
    write_matroska(tmp_path / "call.webm", pictures(61), times)
    assert cv2.VideoCapture(str(tmp_path / "call.webm")).get(cv2.CAP_PROP_FPS) == 1000
    assert both_rates(tmp_path / "call.webm") == pytest.approx((30.3, 30.3), abs=0.01)


@pytest.mark.parametrize("rate", [0.5, 29.97, 240.0, 480.0])
def test_a_rate_that_is_stated_holds_also_where_it_is_high(tmp_path, rate):
    writer = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), rate, (32, 24))
    for picture in pictures(12):
        writer.write(picture)
    writer.release()
    assert both_rates(tmp_path / "v.mp4") == pytest.approx((rate, rate), rel=1e-3)


def test_timestamps_that_stand_still_or_fall_tell_no_rate(tmp_path):
    write_matroska(tmp_path / "still.webm", pictures(12), [0] * 12)
    assert both_rates(tmp_path / "still.webm") == (25.0, 0.0)
    assert not reading.rising([0.0, 0.1, 0.2, 0.1, 0.3])
    assert not reading.rising([0.0, 0.0, 0.0, 9.0])
    assert reading.rising([0.0, 0.04, 0.04, 0.08, 0.12])


class Undecodable:
    """A reader that goes on to frame 5 and has no picture of it, and of frame 7 one of another size."""

    def __init__(self, name, capture=cv2.VideoCapture):
        self.whole, self.at = capture(name), 0
        self.get, self.isOpened, self.release = self.whole.get, self.whole.isOpened, self.whole.release

    def grab(self):
        self.at += 1
        return self.whole.grab()

    def retrieve(self):
        picture = self.whole.retrieve()[1]
        return {5: (False, None), 7: (True, picture[:9])}.get(self.at, (True, picture))

    def read(self):
        return self.retrieve() if self.grab() else (False, None)


def test_frames_that_cannot_be_decoded_are_left_out_alike(tmp_path, monkeypatch):
    write_matroska(tmp_path / "v.mkv", pictures(12), range(0, 480, 40))
    (tmp_path / "t.txt").write_text("".join(f"{n},1,4,4,10,12,1,-1,-1,-1\n" for n in range(1, 11) if n != 6))
    monkeypatch.setattr(cv2, "VideoCapture", Undecodable)
    with open_stream(str(tmp_path / "v.mkv")) as stream:
        assert [number for number, _ in frames_of(stream)] == [1, 2, 3, 4, 6, 8, 9, 10, 11, 12]
    cut_tracks(tmp_path / "v.mkv", tmp_path / "t.txt", tmp_path / "out", progress=False)
    found = sorted(int(picture.stem) for picture in (tmp_path / "out" / "track0001").iterdir())
    assert found == [1, 2, 3, 4, 8, 9, 10]


def test_a_video_that_ends_too_early_is_tracked_with_a_warning(tmp_path, caplog):
    path = tmp_path / "half.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (32, 24))
    for picture in pictures(60):
        writer.write(picture)
    writer.release()
    os.truncate(path, path.stat().st_size // 2)
    with open_stream(str(path)) as stream:
        count = len(list(frames_of(stream, warn=True)))
    assert 10 < count < 40
    assert f"{count} of about 60 frames of {path} could be read" in caplog.text


def test_the_count_that_is_guessed_of_a_changing_rate_does_not_warn(tmp_path, caplog):
    times = [33 * n for n in range(30)] + [1000 + 200 * n for n in range(30)]
    write_matroska(tmp_path / "v.webm", pictures(60), times, duration=7000)
    with open_stream(str(tmp_path / "v.webm")) as stream:
        assert stream.frames > 200
        assert len(list(frames_of(stream, warn=True))) == 60
    assert not caplog.records


def changing(path, slow):
    """Write a video whose first 30 frames come every 33 ms and whose others come every `slow` ms; return their times."""
    times = [33 * n for n in range(30)] + [990 + slow * n for n in range(30)]
    write_matroska(path, pictures(60), times)
    tracks = path.with_suffix(".txt")
    boxes = [(1, 1), (15, 1), (60, 1), (31, 2), (40, 2)]  # frame and track
    tracks.write_text("".join(f"{frame},{track},4,4,10,12,1,-1,-1,-1\n" for frame, track in boxes))
    return str(tracks), np.array(times) / 1000


def test_the_times_of_tracks_are_those_of_their_frames_where_the_rate_changes(tmp_path):
    tracks, times = changing(tmp_path / "phone.mkv", slow=200)
    found = open_source(str(tmp_path / "phone.mkv"), tracks=tracks, frames=tmp_path / "frames")
    assert (found.first_frames.tolist(), found.last_frames.tolist()) == ([1, 31], [60, 40])
    np.testing.assert_allclose(found.times, times[[[0, 59], [30, 39]]])
    again = open_source(str(tmp_path / "phone.mkv"), tracks=tracks, frames=tmp_path / "frames")
    np.testing.assert_array_equal(again.times, found.times)


def test_times_follow_from_numbers_where_they_are_right_to_half_a_second(tmp_path):
    tracks, _ = changing(tmp_path / "calm.mkv", slow=40)
    found = open_source(str(tmp_path / "calm.mkv"), tracks=tracks, frames=tmp_path / "frames")
    np.testing.assert_array_equal(found.times, np.array([[0, 59], [30, 39]]) / found.fps)
    assert "seconds" not in json.loads((tmp_path / "frames" / ".cut.json").read_text())


def test_pictures_of_before_times_were_noted_stay_and_nonsense_is_refused(tmp_path):
    tracks, _ = changing(tmp_path / "phone.mkv", slow=200)
    video, frames = str(tmp_path / "phone.mkv"), tmp_path / "frames"
    open_source(video, tracks=tracks, frames=frames)
    record = json.loads((frames / ".cut.json").read_text())
    assert list(record.pop("seconds")) == ["1", "15", "31", "40", "60"]
    (frames / ".cut.json").write_text(json.dumps(record))
    old = open_source(video, tracks=tracks, frames=frames)
    np.testing.assert_array_equal(old.times, np.array([[0, 59], [30, 39]]) / old.fps)
    for wrong in (None, [1], {"one": 2}, {"1": None}, {"1": [2]}, {"1": float("nan")}, {"1": 10**400}):
        (frames / ".cut.json").write_text(json.dumps(record | {"seconds": wrong}))
        with pytest.raises(InputError, match="exists already and was not cut from"):
            open_source(video, tracks=tracks, frames=frames)
