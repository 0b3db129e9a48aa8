"""What is known of tracks before any model looks at them, and what is refused."""

import dataclasses

import cv2
import numpy as np
import pytest

from vreid_jax.adaptation import AdaptationSettings, open_footage
from vreid_jax.adaptation.footage import Footage, seen_together, split_held_back, usable
from vreid_jax.errors import InputError
from vreid_jax.search import open_source
from vreid_jax.search.gallery import make_table, pyarrow


class Lengths:
    """Tracklets of which only the lengths matter."""

    def __init__(self, lengths):
        self.num_frames = np.array(lengths)
        self.pids = self.camids = np.zeros(len(lengths), np.int64)
        self.tracklet_ids = np.array([f"t{row}" for row in range(len(lengths))])

    def __len__(self):
        return len(self.num_frames)

    def read(self, row, frame_numbers):
        raise AssertionError("nothing is read")


def footage(spans, scenes=None, lengths=None):
    spans = np.array(spans)
    scenes = np.zeros(len(spans), np.int64) if scenes is None else np.array(scenes)
    frames = tuple(np.empty(0, np.int64) for _ in spans)
    return Footage(Lengths(lengths or [20] * len(spans)), scenes, spans, ("video.avi",), frames)


def test_people_seen_at_the_same_time_are_two():
    together = seen_together(footage([[1, 10], [8, 20], [11, 30], [40, 50]]), least_overlap=3)
    # 1-10 and 8-20 have three frames in common, 8-20 and 11-30 ten, 1-10 and 11-30 none.
    assert {(int(i), int(j)) for i, j in zip(*np.nonzero(together), strict=True)} == {(0, 1), (1, 0), (1, 2), (2, 1)}
    assert not seen_together(footage([[1, 10], [8, 20]]), least_overlap=4).any()


def test_a_track_with_a_gap_is_seen_only_in_its_frames():
    spans = [[1, 40], [11, 30], [29, 45]]
    frames = (np.r_[1:11, 31:41], np.arange(11, 31), np.arange(29, 46))
    gaps = dataclasses.replace(footage(spans), frames=frames)
    # The first is away while the second is there; the second and the third have frames 29 and 30 in common.
    assert np.argwhere(np.triu(seen_together(gaps, 3))).tolist() == [[0, 2]]
    assert np.argwhere(np.triu(seen_together(gaps, 2))).tolist() == [[0, 2], [1, 2]]
    twice = dataclasses.replace(gaps, frames=(*frames[:2], np.repeat(frames[2], 2)))  # 29.jpg and 29.png
    assert np.argwhere(np.triu(seen_together(twice, 3))).tolist() == [[0, 2]]
    nothing = dataclasses.replace(gaps, frames=(frames[0], np.empty(0, np.int64), frames[2]))
    assert seen_together(nothing, 3)[0].tolist() == [False, True, True]  # as far as is known
    np.testing.assert_array_equal(seen_together(gaps.chosen(np.array([1, 2])), 2), [[False, True], [True, False]])


def test_a_track_of_a_video_and_of_its_gallery_is_seen_only_in_its_frames(tmp_path):
    pytest.importorskip("pyarrow")
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 6.0, (64, 48))
    for _ in range(12):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    seen = {1: (1, 2, 3, 10, 11, 12), 2: (4, 5, 6, 7, 8, 9), 3: (1, 2, 3, 4, 5, 6)}
    lines = [f"{frame},{track},{9 * track},5,10,20,1" for track, frames in seen.items() for frame in frames]
    (tmp_path / "t.txt").write_text("\n".join(lines))
    cut = tmp_path / "cut"
    opened = open_footage([str(tmp_path / "v.avi")], tracks=str(tmp_path / "t.txt"), frames=str(cut))
    expected = [[False, False, True], [False, False, True], [True, True, False]]
    np.testing.assert_array_equal(seen_together(opened, 3), expected)
    source = open_source(str(tmp_path / "v.avi"), tracks=str(tmp_path / "t.txt"), frames=cut)
    times = source.times.T.tolist()
    columns = {
        "tracklet_id": source.tracklets.tracklet_ids.tolist(),
        **{name: [0] * 3 for name in ("pid", "camid")},
        **{name: [""] * 3 for name in ("split", "model")},
        **{"num_frames": [6] * 3, "first_frame": source.first_frames, "last_frame": source.last_frames},
        **{"start_seconds": times[0], "end_seconds": times[1], "folder": source.folders.tolist()},
    }
    about = {"fingerprint": "f00d", "model": "toy", "metric": "cosine", "open_set": None, "input": source.name}
    pyarrow().parquet.write_table(make_table(np.zeros((3, 2), np.float32), columns, about), tmp_path / "g.parquet")
    np.testing.assert_array_equal(seen_together(open_footage([str(tmp_path / "g.parquet")]), 3), expected)


def test_other_scenes_and_unknown_times_say_nothing():
    assert not seen_together(footage([[1, 10], [1, 10]], scenes=[0, 1])).any()
    assert not seen_together(footage([[-1, -1], [-1, -1]])).any()


def test_two_days_of_one_input_in_a_folder_are_two_scenes(write_made_gallery, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(
        "vreid_jax.adaptation.footage.gallery_tracklets", lambda gallery, rows, _: Lengths([9] * len(rows))
    )
    for day in (1, 2):
        write_made_gallery(tmp_path / f"{day}.parquet", 1, day, input="/cam/now.mp4")
    opened = open_footage([str(tmp_path)])
    assert opened.scenes.tolist() == [0, 0, 0, 1, 1, 1]
    together = seen_together(opened)
    assert together[:3, :3].sum() == together[3:, 3:].sum() == 6  # all are in frame 0
    assert not together[:3, 3:].any()


def test_too_few_tracks_are_refused_with_what_to_do():
    settings = AdaptationSettings(least_tracks=6, least_frames=8)
    with pytest.raises(InputError, match=r"video.avi has 3 tracks of at least 8 frames, and 6 are needed .* film"):
        usable(footage([[1, 9]] * 5, lengths=[8, 7, 9, 30, 2]), settings)
    kept = usable(footage([[n, n + 9] for n in range(7)], lengths=[8, 7, 9, 30, 8, 8, 8]), settings)
    assert kept.tracklets.tracklet_ids.tolist() == ["t0", "t2", "t3", "t4", "t5", "t6"]
    assert kept.spans[:, 0].tolist() == [0, 2, 3, 4, 5, 6]


def test_of_too_many_tracks_some_are_drawn_by_the_seed():
    many = footage([[n, n + 9] for n in range(50)])

    def drawn(seed):
        return usable(many, AdaptationSettings(most_tracks=20, seed=seed)).spans[:, 0].tolist()

    assert len(set(drawn(0))) == 20
    assert drawn(0) == sorted(drawn(0)) == drawn(0)
    assert drawn(0) != drawn(1)


def test_a_part_is_held_back_and_every_track_is_in_one_part():
    training, held = split_held_back(20, 0.2, seed=3)
    assert (len(training), len(held)) == (16, 4)
    assert sorted([*training, *held]) == list(range(20))
    np.testing.assert_array_equal(held, split_held_back(20, 0.2, seed=3)[1])
    assert held.tolist() != split_held_back(20, 0.2, seed=4)[1].tolist()
    assert len(split_held_back(12, 0.1, seed=0)[1]) == 4


def test_a_video_gives_times_and_a_folder_does_not(walkers_video, tmp_path):
    video, tracks = tmp_path / "video.avi", tmp_path / "tracks.txt"
    walkers_video(video, tracks)
    opened = open_footage([str(video)], tracks=str(tracks), frames=str(tmp_path / "cut"))
    assert len(opened) == 8
    assert opened.names == (str(video),)
    # Four walk in the first half of the video and four in the second.
    assert opened.spans.tolist() == [[1, 24]] * 4 + [[25, 48]] * 4
    expected = np.kron(np.eye(2), np.ones((4, 4))) - np.eye(8)
    np.testing.assert_array_equal(seen_together(opened), expected.astype(bool))
    assert not seen_together(open_footage([str(tmp_path / "cut")])).any()


def test_several_inputs_share_no_clock(walkers_video, tmp_path):
    video, tracks = tmp_path / "video.avi", tmp_path / "tracks.txt"
    walkers_video(video, tracks)
    one = open_footage([str(video)], tracks=str(tracks), frames=str(tmp_path / "cut"))
    both = open_footage([str(tmp_path / "cut"), str(tmp_path / "cut")])
    assert len(both) == 16
    assert len(both.names) == 2
    assert not set(both.scenes[:8]) & set(both.scenes[8:])
    np.testing.assert_array_equal(both.tracklets.read(9, np.arange(3)), one.tracklets.read(1, np.arange(3)))
    with pytest.raises(InputError, match="are of one video, and 2 inputs are given"):
        open_footage([str(video), str(video)], tracks=str(tracks), frames=str(tmp_path / "cut"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pieces": 9}, "pieces is 9; it must not be above least_frames = 8"),
        ({"most_tracks": 11}, "most_tracks is 11; it must not be below least_tracks = 12"),
    ],
)
def test_settings_that_no_track_could_meet_are_refused(fields, said):
    with pytest.raises(InputError, match=said):
        AdaptationSettings(**fields)


@pytest.mark.parametrize("given", [{"tracks": "tracks.txt"}, {"frames": "cut"}])
def test_what_belongs_to_a_video_is_not_ignored_for_a_gallery(given):
    ((name, value),) = given.items()
    with pytest.raises(InputError, match=f"--{name}={value} applies to a video"):
        open_footage(["gallery.parquet"], **given)


def test_cameras_of_large_numbers_are_those_of_their_input(tmp_path):
    inputs = []
    for name, camera in (("one", 1 << 32), ("two", 0), ("three", 2**63 - 1)):
        folder = tmp_path / name / "7" / f"c{camera}_x"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "1.png"), np.zeros((8, 4, 3), np.uint8))
        inputs.append(str(tmp_path / name))
    assert len(set(open_footage(inputs).scenes.tolist())) == 3
