"""Folders and videos as sources: what is listed, in which order, with which labels and times."""

import cv2
import numpy as np
import pytest

from vreid_jax import data
from vreid_jax.errors import InputError
from vreid_jax.search import open_source


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 4, 3), value, np.uint8))


def test_folders_of_any_depth_are_tracklets_with_their_labels(tmp_path):
    for number in (2, 10, 9):
        write(tmp_path / "query" / "7" / "c3_x" / f"f{number}.png", number)
    write(tmp_path / "somebody" / "a.png", 50)
    write(tmp_path / "somebody" / ".hidden.png", 60)
    source = open_source(str(tmp_path), camera=5)
    tracklets = source.tracklets
    assert isinstance(tracklets, data.Tracklets)
    assert tracklets.tracklet_ids.tolist() == ["query/7/c3_x", "somebody"]
    assert (tracklets.pids.tolist(), tracklets.camids.tolist()) == ([7, 0], [3, 5])
    assert source.splits.tolist() == ["query", ""]
    assert (source.first_frames.tolist(), source.last_frames.tolist()) == ([2, -1], [10, -1])
    frames = tracklets.read(0, np.array([[2, 0], [1, 1]]))
    assert frames[..., 0, 0, 0].tolist() == [[10, 2], [9, 9]]  # by number, not by name


@pytest.fixture
def video(tmp_path):
    """Twelve frames of 64 x 48 at 6 a second; a bright square walks to the right, two pixels a frame."""
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 6.0, (64, 48))
    for number in range(12):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[10:30, 4 + 2 * number : 14 + 2 * number] = 255
        writer.write(frame)
    writer.release()
    tracks = tmp_path / "tracks.txt"
    lines = [f"{n + 1},3,{4 + 2 * n},10,10,20,1,-1,-1,-1" for n in range(2, 9)] + ["5,8,0,30,6,12,1,-1,-1,-1"]
    tracks.write_text("\n".join(lines))
    return path, tracks


def test_a_video_gives_its_tracks_whole_with_times(video, tmp_path):
    path, tracks = video
    source = open_source(str(path), tracks=str(tracks), frames=tmp_path / "frames", camera=2)
    assert source.tracklets.tracklet_ids.tolist() == ["track0003"]  # track 8 is a single box
    assert (source.first_frames.tolist(), source.last_frames.tolist(), source.fps) == ([3], [9], 6.0)
    assert source.tracklets.camids.tolist() == [2]
    frames = source.tracklets.read(0, np.arange(7))
    assert frames.shape == (7, 20, 10, 3)
    assert frames.mean() > 240  # the box follows the square
    (tmp_path / "frames" / "track0003" / "000003.jpg").unlink()
    again = open_source(str(path), tracks=str(tracks), frames=tmp_path / "frames")
    assert again.tracklets.num_frames.tolist() == [6]  # pictures that are there are not cut again
    tracks.write_text(tracks.read_text() + "10,3,22,10,10,20,1,-1,-1,-1\n")
    with pytest.raises(InputError, match=r"frames exists already and was not cut from .*walk.avi along"):
        open_source(str(path), tracks=str(tracks), frames=tmp_path / "frames")
    with pytest.raises(InputError, match=r"the tracks .*none.txt cannot be read"):
        open_source(str(path), tracks=str(tmp_path / "none.txt"), frames=tmp_path / "other")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1,1,500,500,10,10,1,-1,-1,-1\n2,1,500,500,10,10,1,-1,-1,-1", "2 of 2 boxes of .* lie outside the picture"),
        ("1,1,0,0,9,9,1,-1,-1,-1\n99,1,0,0,9,9,1,-1,-1,-1", "has boxes up to frame 99, but the video"),
        ("one,two", "expected frame,id,x,y,w,h"),
        ("", "has no boxes"),
    ],
)
def test_tracks_of_another_video_are_one_sentence_and_leave_nothing(video, tmp_path, content, words):
    path, tracks = video
    tracks.write_text(content)
    with pytest.raises(InputError, match=words):
        open_source(str(path), tracks=str(tracks), frames=tmp_path / "frames")
    assert {entry.name for entry in tmp_path.iterdir()} == {"walk.avi", "tracks.txt"}


def test_a_file_that_is_not_a_video_is_one_sentence(video, tmp_path):
    (tmp_path / "fake.avi").write_text("no video")
    with pytest.raises(InputError, match="OpenCV finds no frame in it"):
        open_source(str(tmp_path / "fake.avi"), tracks=str(video[1]), frames=tmp_path / "frames")


def test_tracks_that_are_not_text_are_one_sentence(video, tmp_path):
    with pytest.raises(InputError, match=r"the tracks .*walk.avi are not text"):
        open_source(str(video[0]), tracks=str(video[0]), frames=tmp_path / "frames")


def test_frames_that_cannot_be_written_are_one_sentence(video, tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*tracks.txt/frames: File exists"):
        open_source(str(video[0]), tracks=str(video[1]), frames=tmp_path / "tracks.txt" / "frames")


def test_links_that_lead_back_are_not_followed(tmp_path):
    for number, name in enumerate(("a", "b")):
        write(tmp_path / "people" / name / "1.png", number)
    (tmp_path / "people" / "a" / "up").symlink_to(tmp_path / "people")
    (tmp_path / "people" / "b" / "a").symlink_to(tmp_path / "people" / "a")
    (tmp_path / "people" / "again").symlink_to(tmp_path / "people" / "b")
    source = open_source(str(tmp_path / "people"))
    assert source.tracklets.tracklet_ids.tolist() == ["a", "again", "again/a", "b", "b/a"]


def test_flags_of_another_kind_of_input_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"--frames=pictures applies to a video, and .* is not a video"):
        open_source(str(tmp_path), frames="pictures")
    with pytest.raises(InputError, match="--camera=-3 must be the number of a camera"):
        open_source(str(tmp_path), camera=-3)
    with pytest.raises(InputError, match="the input is empty"):
        open_source("")
    with pytest.raises(InputError, match="applies to a video"):
        open_source(str(tmp_path), tracks="tracks.txt")
    with pytest.raises(InputError, match="applies to a video"):
        open_source("walkers/tiny", tracks="tracks.txt")
    with pytest.raises(InputError, match="applies to a built dataset"):
        open_source(str(tmp_path), split="train")
