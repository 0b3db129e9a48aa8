import os

import cv2
import numpy as np
import pytest

from vreid_jax import datasets
from vreid_jax.datasets.video import track_file
from vreid_jax.datasets.video.track_file import warn_of_absences
from vreid_jax.datasets.video.tracks import Box, clip_box, cut_tracklets, cut_tracks, read_tracks
from vreid_jax.errors import InputError

HEIGHT, WIDTH, FRAMES = 48, 64, 12


@pytest.fixture
def video(tmp_path):
    """Frame n (from 1) is grey with level 15 n."""
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    for n in range(1, FRAMES + 1):
        writer.write(np.full((HEIGHT, WIDTH, 3), 15 * n, np.uint8))
    writer.release()
    return path


@pytest.fixture
def tracks(tmp_path):
    """Four tracks over frames 2 to 11; the first leaves the picture on the left."""
    lines = [f"{n},{i},{-5 if i == 1 else 10 * i},4,10,20,1,-1,-1,-1" for i in (1, 2, 3, 4) for n in range(2, 12)]
    path = tmp_path / "tracks.txt"
    path.write_text("\n".join([*lines, "2,9,0,0,5,5,1,-1,-1,-1", "12,2,0,0,5,5,0,-1,-1,-1"]))
    return path


def test_a_video_is_cut_into_halves(video, tracks, tmp_path):
    out = tmp_path / "out"
    out.mkdir()  # an empty folder is welcome
    done = cut_tracklets(video, tracks, out, progress=False)
    assert (done.train_identities, done.test_identities, done.tracklets, done.frames) == (2, 2, 8, 40)
    assert done.left_out == 1
    people = {s: sorted(p.name for p in (out / s).iterdir()) for s in ("train", "query", "gallery")}
    assert people["query"] == people["gallery"]
    assert sorted(people["train"] + people["query"]) == ["0001", "0002", "0003", "0004"]
    for pid in people["query"]:
        first = sorted((out / "query" / pid / f"c1_track{int(pid)}").iterdir())
        second = sorted((out / "gallery" / pid / f"c2_track{int(pid)}").iterdir())
        assert [p.name for p in first] == [f"{n:06d}.jpg" for n in range(2, 7)]
        assert [p.name for p in second] == [f"{n:06d}.jpg" for n in range(7, 12)]
        for path in first + second:
            crop = cv2.imread(str(path))
            assert abs(crop.mean() - 15 * int(path.stem)) < 3
            assert crop.shape == (20, 5 if pid == "0001" else 10, 3)
    assert not list(tmp_path.glob(".out*"))


def test_the_folder_can_be_loaded(video, tracks, tmp_path):
    cut_tracklets(video, tracks, tmp_path / "out", resize=(32, 16), progress=False)
    builder = datasets.load_builder("folder", data_dir=tmp_path / "built", progress=False, path=tmp_path / "out")
    assert {s: i.num_examples for s, i in builder.info.splits.items()} == {"train": 4, "query": 2, "gallery": 2}
    assert builder.as_data_source("train")[0]["frames"][0].shape == (32, 16, 3)


def test_the_seed_decides_who_is_for_training(video, tracks, tmp_path):
    chosen = set()
    for seed in range(6):
        cut_tracklets(video, tracks, tmp_path / str(seed), seed=seed, progress=False)
        chosen.add(tuple(sorted(p.name for p in (tmp_path / str(seed) / "train").iterdir())))
    assert len(chosen) > 1


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(1, 1, 2.4, 3.6, 10.0, 20.0), (4, 24, 2, 12)),
        (Box(1, 1, -5.0, -5.0, 10.0, 20.0), (0, 15, 0, 5)),
        (Box(1, 1, 60.0, 40.0, 10.0, 20.0), (40, 48, 60, 64)),
        (Box(1, 1, 64.0, 0.0, 10.0, 20.0), None),
    ],
)
def test_boxes_are_clipped_to_the_picture(box, expected):
    assert clip_box(box, HEIGHT, WIDTH) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3", "line 2: expected frame,id"),
        ("1,2,a,4,5,6,1", "line 2: expected frame,id"),
        ("1,2,nan,4,5,6,1", "line 2: expected frame,id"),
        ("0,2,3,4,5,6,1", "line 2: frame and id must be whole numbers from 1"),
        ("1,2,3,4,0,6,1", "line 2: width and height"),
        ("1,1,3,4,5,6,1", "line 2: track 1 has a second box in frame 1"),
        ("1_0_1,2,3,4,5,6,1", "line 2: expected frame,id"),
        ("²,2,3,4,5,6,1", "line 2: expected frame,id"),
        ("1,2,inf,4,5,6,1", "line 2: expected frame,id"),
        ("1,2,3,4,5,6,", "line 2: expected frame,id"),
        ("99999999999999999999999,2,3,4,5,6,1", "line 2: frame and id must be whole numbers from 1 and below 2"),
        ("1e300,2,3,4,5,6,1", "line 2: frame and id"),
        ("1,9007199254740993,3,4,5,6,1", "line 2: frame and id"),
        ("1,2,1e308,4,1e308,6,1", "line 2: a box is in pixels"),
        ("1,2,3,4,5,1e9999,1", "line 2: a box is in pixels"),
    ],
)
def test_a_malformed_line_is_named_with_its_number(tmp_path, line, message):
    path = tmp_path / "tracks.txt"
    path.write_text(f"1,1,3,4,5,6,1,-1,-1,-1\n{line}\n")
    with pytest.raises(InputError, match=message):
        read_tracks(path)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf1,1,3,4,5,6,1\n", b"1,1,3,4,5,6,1\r\n", b" 1 , 1,3,4.0,5e0,6,1"])
def test_what_editors_and_spreadsheets_add_to_tracks_does_not_matter(tmp_path, content):
    (tmp_path / "t.txt").write_bytes(content)
    assert read_tracks(tmp_path / "t.txt") == [Box(1, 1, 3.0, 4.0, 5.0, 6.0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,1,3,4,5,6,1".encode("utf-16"), "t.txt are UTF-16 text: save them as UTF-8"),
        (b"\xff\x00\x01", "t.txt are not text"),
        (bytes(3), "line 1: expected frame,id"),
        (b"", "has no boxes"),
    ],
)
def test_another_encoding_is_named(tmp_path, content, message):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_tracks(tmp_path / "t.txt")


def of_rests(*rests):
    """Lines of a box each that end differently."""
    return "\n".join(f"{frame},1,0,0,9,9,{rest}" for frame, rest in enumerate(rests, 1))


def test_boxes_of_several_classes_are_refused_with_their_counts(tmp_path):
    (tmp_path / "t.txt").write_text(of_rests("0.9,0,1", "0.8,2,1", "1,0,1"))
    with pytest.raises(InputError, match=r"classes 0 \(2 boxes\), 2 \(1 boxes\) in field 8: keep the lines of people"):
        read_tracks(tmp_path / "t.txt")
    (tmp_path / "t.txt").write_text(of_rests(*(f"1,{number}" for number in range(1, 9))))
    with pytest.raises(InputError, match=r"5 \(1 boxes\) and 3 more in field 8"):
        read_tracks(tmp_path / "t.txt")


@pytest.mark.parametrize(
    "rests",
    [
        ("1,2", "1,2"),  # one class
        ("1,1,0.5", "0,3,0.5"),  # the truth of MOTChallenge: another class has confidence 0
        ("1,-1,-1,-1", "1,-1,-1,-1"),
        ("1,0,2,0", "1,0.25,2,0", "1,1,2,0"),  # metres
        ("1,-2,2,0", "1,3,2,0"),
        ("1,1", "1"),
    ],
)
def test_what_field_8_is_besides_is_not_a_class(tmp_path, rests):
    (tmp_path / "t.txt").write_text(of_rests(*rests))
    assert len(read_tracks(tmp_path / "t.txt")) == len(rests) - ("0,3,0.5" in rests)


def test_what_is_not_a_file_does_not_hang(video, tracks, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"the tracks .*pipe cannot be read: it is not a regular file"):
        read_tracks(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe cannot be read: it is not a regular file"):
        cut_tracklets(tmp_path / "pipe", tracks, tmp_path / "out", progress=False)
    with pytest.raises(InputError, match="names a user who does not exist"):
        cut_tracklets(video, tracks, "~nobody-of-this-name/out", progress=False)


def test_a_refused_cut_leaves_no_folder_above_it(video, tracks, tmp_path):
    tracks.write_text(tracks.read_text() + "\n99,3,1,1,5,5,1,-1,-1,-1\n")
    with pytest.raises(InputError, match="boxes up to frame 99"):
        cut_tracklets(video, tracks, tmp_path / "a" / "b" / "out", progress=False)
    assert not (tmp_path / "a").exists()


def test_tracks_beyond_the_video_leave_nothing_behind(video, tracks, tmp_path):
    tracks.write_text(tracks.read_text() + "\n99,3,1,1,5,5,1,-1,-1,-1\n")
    before = set(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"boxes up to frame 99, but the video .* ends after 12"):
        cut_tracklets(video, tracks, tmp_path / "out", progress=False)
    assert set(tmp_path.iterdir()) == before


def test_a_full_output_folder_is_refused(video, tracks, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(InputError, match="not an empty folder"):
        cut_tracklets(video, tracks, tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "keep"


def test_a_folder_that_cannot_be_made_is_one_sentence(video, tracks, tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*out: File exists"):
        cut_tracklets(video, tracks, tracks / "out", progress=False)


def test_a_video_that_is_not_one_is_named(tracks, tmp_path):
    with pytest.raises(InputError, match=r"nothing\.avi does not exist"):
        cut_tracklets(tmp_path / "nothing.avi", tracks, tmp_path / "out")
    (tmp_path / "broken.avi").write_bytes(bytes(1000))
    with pytest.raises(InputError, match=r"broken\.avi cannot be read"):
        cut_tracklets(tmp_path / "broken.avi", tracks, tmp_path / "out")


@pytest.mark.parametrize(("fps", "said"), [(1.0, True), (1.2, False), (0.0, False)])
def test_tracks_that_come_back_after_long_are_counted(caplog, fps, said):
    seen = {1: (2, 11, 1), 2: (1, 2, 10), 3: (12, 20)}
    boxes = [Box(frame, track, 0.0, 0.0, 9.0, 9.0) for track, frames in seen.items() for frame in frames]
    warn_of_absences(boxes, fps, "t.txt")
    words = [
        "1 of 3 tracks of t.txt come back after more than 8 s: searching and linking take them for seen all the time between"
    ]
    assert [message.partition(";")[0] for message in caplog.messages] == words * said


def test_a_cut_warns_of_tracks_that_come_back_after_long(video, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(track_file, "LONG_ABSENCE", 0.5)
    lines = [f"{frame},1,0,0,9,9,1" for frame in (1, 2, 9, 10)]
    (tmp_path / "t.txt").write_text("\n".join(lines))
    assert cut_tracks(video, tmp_path / "t.txt", tmp_path / "cut", progress=False).tracks == 1
    assert "1 of 1 tracks of" in caplog.text


def test_too_few_long_tracks_are_an_error(video, tracks, tmp_path):
    with pytest.raises(InputError, match="has 0 tracks with at least 11 boxes"):
        cut_tracklets(video, tracks, tmp_path / "out", min_length=11)
