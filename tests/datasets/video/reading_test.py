"""The rate of a video, which its file states, or its timestamps tell, or nothing does."""

import cv2
import numpy as np
import pytest

from vreid_jax.datasets.video import reading
from vreid_jax.datasets.video.tracks import read_fps
from vreid_jax.tracking.streams import open_stream


def write_matroska(path, pictures, milliseconds):
    """Write pictures, uint8 `[H, W, 3]`, as a browser's recorder does: a time for each, no rate and no duration."""
    height, width = pictures[0].shape[:2]
    video = _element("E0", _element("B0", _number(width)) + _element("BA", _number(height)))
    about = _element("D7", b"\1") + _element("73C5", b"\1") + _element("83", b"\1") + _element("86", b"V_MJPEG")
    clusters = b"".join(
        _element("1F43B675", _element("E7", _number(time)) + _element("A3", b"\x81\0\0\x80" + _jpeg(picture)))
        for picture, time in zip(pictures, milliseconds, strict=True)
    )
    information = _element("1549A966", _element("2AD7B1", _number(1_000_000)))  # nanoseconds a tick
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
