"""Folders and videos as sources: what is listed, in which order, with which labels and times."""

import os

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


def test_an_input_is_called_by_its_real_path_whichever_link_leads_to_it(video, tmp_path):
    (tmp_path / "link").symlink_to(video[0].parent)
    source = open_source(str(tmp_path / "link" / video[0].name), tracks=str(video[1]), frames=tmp_path / "frames")
    assert source.name == str(video[0].resolve())
    assert open_source(str(tmp_path / "frames" / "..")).name == str(tmp_path.resolve())


def test_flags_of_another_kind_of_input_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"--frames=pictures applies to a video, and .* is not a video"):
        open_source(str(tmp_path), frames="pictures")
    for camera in (-3, 2**63):
        with pytest.raises(InputError, match=f"--camera={camera} must be the number of a camera"):
            open_source(str(tmp_path), camera=camera)
    with pytest.raises(InputError, match="the input is empty"):
        open_source("")
    with pytest.raises(InputError, match="applies to a video"):
        open_source(str(tmp_path), tracks="tracks.txt")
    with pytest.raises(InputError, match="applies to a video"):
        open_source("walkers/tiny", tracks="tracks.txt")
    with pytest.raises(InputError, match="applies to a built dataset"):
        open_source(str(tmp_path), split="train")


def test_what_is_not_a_picture_file_is_named_and_does_not_hang(tmp_path):
    for name in ("pipe", "device", "gone"):
        write(tmp_path / name / "a" / "1.png", 10)
    os.mkfifo(tmp_path / "pipe" / "a" / "2.jpg")
    (tmp_path / "device" / "a" / "2.jpg").symlink_to("/dev/zero")
    (tmp_path / "gone" / "a" / "2.jpg").symlink_to("nowhere")
    for name, words in {"pipe": "is not a picture", "device": "is not a picture", "gone": "No such file"}.items():
        with pytest.raises(InputError, match=rf"{name}/a/2.jpg .*{words}"):
            open_source(str(tmp_path / name))
    write(tmp_path / "late" / "a" / "1.png", 10)
    late = open_source(str(tmp_path / "late")).tracklets
    (tmp_path / "late" / "a" / "1.png").unlink()
    os.mkfifo(tmp_path / "late" / "a" / "1.png")  # where a file was when it was listed
    with pytest.raises(InputError, match="not a regular file"):
        late.read(0, np.arange(1))
    os.mkfifo(tmp_path / "pipe.avi")
    with pytest.raises(InputError, match=r"pipe.avi is a pipe or a device"):
        open_source(str(tmp_path / "pipe.avi"))


def test_a_folder_that_is_called_like_a_picture_is_a_folder(tmp_path):
    write(tmp_path / "a" / "1.png", 10)
    write(tmp_path / "a" / "2.png" / "1.png", 20)
    source = open_source(str(tmp_path))
    assert source.tracklets.tracklet_ids.tolist() == ["a", "a/2.png"]
    assert source.tracklets.num_frames.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a/99999999999999999999999.png", "99999999999999999999999 is too large a number"),
        ("7/c99999999999999999999_x/1.png", "99999999999999999999 is too large a number"),
        ("99999999999999999999/c1_x/1.png", "99999999999999999999 is too large a number"),
    ],
)
def test_numbers_that_no_gallery_can_hold_are_named(tmp_path, name, words):
    write(tmp_path / name, 10)
    with pytest.raises(InputError, match=words):
        open_source(str(tmp_path))


def test_digits_that_are_not_numbers_name_nobody(tmp_path):
    for name in ("²/c1_x", "7/c²_x", "7/d1_x"):
        write(tmp_path / "people" / "1.png", 10)
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / "people" / "1.png").rename(tmp_path / name / "1.png")
    assert open_source(str(tmp_path)).tracklets.pids.tolist() == [0, 0, 0]


def test_junk_is_left_out_of_folders_as_it_is_of_a_dataset(tmp_path):
    for name in ("gallery/-1/c3_x", "gallery/-1/other", "gallery/0/c2_x"):
        write(tmp_path / name / "1.png", 10)
    assert open_source(str(tmp_path)).tracklets.tracklet_ids.tolist() == ["gallery/-1/other", "gallery/0/c2_x"]
    with pytest.raises(InputError, match="has only junk, tracklets of the identity -1, which is never searched"):
        open_source(str(tmp_path / "gallery" / "-1" / "c3_x"))


def test_names_that_are_not_utf8_are_named(tmp_path):
    write(tmp_path / "a" / "1.png", 10)
    os.rename(tmp_path / "a" / "1.png", os.fsencode(tmp_path / "a") + b"/\xff.png")
    with pytest.raises(InputError, match="is not UTF-8: rename it"):
        open_source(str(tmp_path))


def test_a_damaged_picture_is_named_when_it_is_read(tmp_path):
    write(tmp_path / "a" / "1.png", 10)
    content = bytearray((tmp_path / "a" / "1.png").read_bytes())
    content[45] ^= 1
    (tmp_path / "a" / "1.png").write_bytes(content)
    with pytest.raises(
        InputError, match=r"1.png is not a readable image \(its checksum is wrong\); repair or remove it"
    ):
        open_source(str(tmp_path)).tracklets.read(0, np.arange(1))


def test_content_changes_with_a_picture(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name / "1.png", 10)
    before = open_source(str(tmp_path)).contents
    assert open_source(str(tmp_path)).contents.tolist() == before.tolist()
    write(tmp_path / "b" / "1.png", 10)  # the same once more, at another time
    os.utime(tmp_path / "b" / "1.png", ns=(5, 5))
    assert (open_source(str(tmp_path)).contents == before).tolist() == [True, False]


@pytest.mark.parametrize("record", [b"", b"null", b"[]", b"5", b'"x"', b"\xff", b'{"video": 1}', b"[" * 100_000])
def test_a_damaged_record_of_a_cut_is_not_trusted(video, tmp_path, record):
    path, tracks = video
    open_source(str(path), tracks=str(tracks), frames=tmp_path / "frames")
    (tmp_path / "frames" / ".cut.json").write_bytes(record)
    with pytest.raises(InputError, match="frames exists already and was not cut from"):
        open_source(str(path), tracks=str(tracks), frames=tmp_path / "frames")


def test_crops_of_a_video_that_differs_anywhere_are_not_used(tmp_path):
    path, tracks = tmp_path / "walk.avi", tmp_path / "tracks.txt"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 6.0, (640, 480))
    for frame in np.random.default_rng(0).integers(0, 256, (8, 480, 640, 3), np.uint8):
        writer.write(frame)
    writer.release()
    assert path.stat().st_size > 1 << 20
    tracks.write_text("1,1,4,10,10,20,1\n2,1,4,10,10,20,1")
    open_source(str(path), tracks=str(tracks), frames=tmp_path / "frames")
    with path.open("r+b") as file:  # behind the first megabyte, at the same length
        file.seek(-1000, os.SEEK_END)
        file.write(bytes(100))
    with pytest.raises(InputError, match="frames exists already and was not cut from"):
        open_source(str(path), tracks=str(tracks), frames=tmp_path / "frames")
