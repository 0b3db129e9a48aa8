from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid_jax.datasets.video.box_linking import iou, link
from vreid_jax.datasets.video.tracks import Box, cut_tracklets, read_tracks
from vreid_jax.errors import InputError


def walk(frames, left, step, top=10.0):
    return [Box(frame, -1, float(left + step * frame), float(top), 20.0, 40.0) for frame in frames]


def tracks(boxes):
    found = {}
    for box in boxes:
        found.setdefault(box.track, []).append((box.frame, box.left))
    return sorted(found.values())


def test_overlap_by_hand():
    a = np.array([[0.0, 0, 2, 2]])
    b = np.array([[0.0, 0, 2, 2], [1, 0, 2, 2], [1, 1, 2, 2], [2, 0, 2, 2], [0.5, 0.5, 1, 1]])
    np.testing.assert_allclose(iou(a, b), [[1, 2 / 6, 1 / 7, 0, 1 / 4]])


def test_two_people_who_walk_past_each_other_on_two_lines_keep_their_ids():
    first, second = walk(range(1, 21), 0, 3), walk(range(1, 21), 70, -3, top=35)
    mixed = [box for pair in zip(second, first, strict=True) for box in pair]
    linked = link(np.random.default_rng(0).permutation(np.array(mixed, object)).tolist())
    assert tracks(linked) == sorted([[(b.frame, b.left) for b in walker] for walker in (first, second)])
    assert {box.track for box in linked} == {1, 2}


def test_a_short_gap_is_bridged_and_a_long_one_is_not():
    for missing, expected in ((2, 1), (3, 2)):
        frames = [*range(1, 5), *range(5 + missing, 10)]
        assert len({box.track for box in link(walk(frames, 0, 1), min_iou=0.3, max_gap=2)}) == expected


def test_what_overlaps_too_little_starts_a_track():
    boxes = walk((1, 2), 0, 10)  # moves by half of its width: a third of the union is shared
    assert [box.track for box in link(boxes, min_iou=0.34)] == [1, 2]
    assert [box.track for box in link(boxes, min_iou=0.33)] == [1, 1]


def test_the_largest_sum_of_overlaps_wins_over_the_greedy_choice():
    # The first detection overlaps most with track 2, whose only other match would be lost.
    boxes = [
        Box(1, -1, 0.0, 0.0, 10.0, 10.0), Box(1, -1, 4.0, 0.0, 10.0, 10.0),
        Box(2, -1, 2.5, 0.0, 10.0, 10.0), Box(2, -1, 6.0, 0.0, 10.0, 10.0),
    ]  # fmt: skip
    assert [box.track for box in link(boxes, min_iou=0.3)] == [1, 2, 1, 2]


def test_detections_become_a_tracklet_folder(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 80))
    for _ in range(20):
        writer.write(np.zeros((80, 96, 3), np.uint8))
    writer.release()
    boxes = [*walk(range(1, 21), 0, 2), *walk(range(3, 19), 60, -2, top=35)]
    lines = [f"{b.frame},-1,{b.left},{b.top},{b.width},{b.height},0.9,-1,-1,-1" for b in boxes]
    (tmp_path / "det.txt").write_text("\n".join(lines))
    done = cut_tracklets(tmp_path / "v.avi", tmp_path / "det.txt", tmp_path / "out", progress=False)
    assert (done.train_identities, done.test_identities, done.tracklets, done.frames) == (1, 1, 4, 36)
    lengths = Counter(path.parent.parent.name for path in Path(tmp_path / "out").rglob("*.jpg"))
    assert lengths == {"0001": 20, "0002": 16}


def test_some_ids_and_some_none_is_an_error(tmp_path):
    (tmp_path / "t.txt").write_text("1,1,0,0,5,5,1\n2,-1,0,0,5,5,1\n")
    with pytest.raises(InputError, match="1 of 2 boxes have no id"):
        read_tracks(tmp_path / "t.txt")


@pytest.mark.parametrize("fields", [{"min_iou": 0.0}, {"min_iou": 1.5}, {"max_gap": -1}])
def test_what_cannot_be_linked_by_is_said(tmp_path, fields):
    (tmp_path / "t.txt").write_text("1,-1,0,0,5,5,1\n")
    with pytest.raises(InputError, match=r"must be in \(0, 1\]"):
        read_tracks(tmp_path / "t.txt", **fields)
