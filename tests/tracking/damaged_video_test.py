"""A video of which some frames cannot be read, tracked and cut: what is left keeps its numbers."""

import cv2
import numpy as np
import pytest

from vreid_jax.datasets.video.track_file import read_tracks
from vreid_jax.datasets.video.tracks import cut_tracks
from vreid_jax.errors import Interrupted
from vreid_jax.tracking import track_video
from vreid_jax.tracking.streams import frames_of, open_stream

WIDTH = 160
LOST = range(24, 27)  # frames whose data the fixture zeroes


def block(number):
    return 2 * number + 10, 10, 12, 30


@pytest.fixture
def damaged(tmp_path):
    """An MP4 of 60 frames with a walking block, in which some in the middle cannot be decoded."""
    path = tmp_path / "damaged.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (WIDTH, 48))
    rng = np.random.default_rng(0)
    for number in range(1, 61):
        picture = rng.integers(0, 60, (48, WIDTH, 3), np.uint8)
        writer.write(cv2.rectangle(picture, block(number), (255,) * 3, cv2.FILLED))
    writer.release()
    content = bytearray(path.read_bytes())
    starts = [place for place in range(len(content) - 4) if content[place : place + 4] == b"\0\0\1\xb6"]
    assert len(starts) == 60  # of MPEG-4's pictures
    for number in LOST:
        first, end = starts[number - 1], starts[number]
        content[first:end] = bytes(end - first)
    path.write_bytes(content)
    return path


def bright(frame):
    found = cv2.boundingRect(np.uint8(cv2.blur(frame[..., 0], (3, 3)) > 150))
    return np.array([found]), np.array([0.9])


def test_frames_that_cannot_be_read_keep_their_numbers_in_tracks_pictures_and_preview(damaged, tmp_path, caplog):
    tracks, preview = tmp_path / "tracks.txt", tmp_path / "preview.avi"
    done = track_video(str(damaged), tracks, detector=bright, preview=preview)
    read = [number for number in range(1, 61) if number not in LOST]
    boxes = read_tracks(tracks)
    assert (done.frames, done.tracks, [box.frame for box in boxes]) == (60, 1, read)
    assert max(abs(box.left - block(box.frame)[0]) for box in boxes) <= 2
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"57 of about 60 frames of {damaged} could be read: it is damaged or incomplete")
    assert cut_tracks(damaged, tracks, tmp_path / "out", progress=False).tracks == 1
    pictures = sorted((tmp_path / "out" / "track0001").iterdir())
    assert [int(picture.stem) for picture in pictures] == read
    inside = [cv2.imread(str(picture))[5:-5, 2:-2].mean() for picture in pictures]
    assert min(inside) > 200  # the block is where its box is
    with open_stream(str(preview)) as stream:
        drawn = dict(frames_of(stream))
    assert list(drawn) == list(range(1, 61))
    for number in read:
        assert np.ptp(drawn[number].astype(int), axis=2).max() > 60, number  # a coloured box


def test_a_run_that_goes_on_behind_frames_that_cannot_be_read_gives_the_same_tracks(damaged, tmp_path, stopped_at):
    track_video(str(damaged), tmp_path / "whole.txt", detector=bright)
    with pytest.raises(Interrupted, match="interrupted after frame 43"):
        track_video(str(damaged), tmp_path / "tracks.txt", detector=stopped_at(bright, 40))
    done = track_video(str(damaged), tmp_path / "tracks.txt", detector=bright)
    assert (done.resumed, done.frames) == (43, 60)
    assert (tmp_path / "tracks.txt").read_text() == (tmp_path / "whole.txt").read_text()


def test_boxes_of_another_tracker_in_frames_that_cannot_be_read_have_no_pictures(damaged, tmp_path, caplog):
    tracks = tmp_path / "tracks.txt"
    tracks.write_text("".join(f"{n},1,{block(n)[0]},10,12,30,1,-1,-1,-1\n" for n in range(20, 41)))
    cut_tracks(damaged, tracks, tmp_path / "out", progress=False)
    assert len(list((tmp_path / "out" / "track0001").iterdir())) == 18
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == f"3 of the 21 frames of {damaged} with boxes cannot be read: tracks have no pictures there"
