"""Boxes become tracks: motion against a filter written out in float64, matching and taking up by hand-worked cases."""

import json

import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.tracking import motion, track_state
from vreid_jax.tracking.association import Row, Tracker, TrackSettings

NOTHING = np.zeros((0, 4)), np.zeros(0)
PERSON = np.array([100.0, 50.0, 20.0, 60.0])


def walk(tracker, frames, speed=4.0, start=PERSON, score=0.9, appearance=None):
    """One person who walks to the right; returns what is reported."""
    rows = []
    for frame in frames:
        box = start + np.array([speed * frame, 0, 0, 0])
        rows += tracker.update(frame, box[None], np.array([score]), appearance)
    return rows


def still(tracker, frames):
    return [row for frame in frames for row in tracker.update(frame, *NOTHING)]


def test_the_filter_is_that_of_the_textbook():
    boxes = np.array([[10.0, 20.0, 30.0, 80.0]])
    means, covariances = motion.begin(boxes, fps=30.0)
    np.testing.assert_allclose(means[0], [25, 60, 30, 80, 0, 0])
    np.testing.assert_allclose(np.diag(covariances[0]), [8.0**2] * 4 + [5.0**2] * 2)  # 2/20 and 10/160 of 80
    found = np.array([[14.0, 21.0, 28.0, 84.0]])
    # One coordinate at a time: the place p with its speed v, and the size s, which has none; noise is 4² and 0.5².
    p, v, cross, s = 64.0 + 25.0 + 16.0, 25.0 + 0.25, 25.0, 64.0 + 16.0
    predicted = motion.predict(means, covariances, fps=30.0)
    np.testing.assert_allclose(np.diag(predicted[1][0]), [p, p, s, s, v, v])
    means, covariances = motion.correct(*predicted, found)
    gains = np.array([p / (p + 16.0)] * 2 + [s / (s + 16.0)] * 2)
    surprise = np.array([28.0 - 25, 63.0 - 60, 28 - 30, 84 - 80])
    speed = cross / (p + 16.0) * surprise[:2]
    np.testing.assert_allclose(means[0], [*([25, 60, 30, 80] + gains * surprise), *speed])
    np.testing.assert_allclose(covariances[0, 0, 0], p - p**2 / (p + 16.0))
    np.testing.assert_allclose(covariances[0, 4, 4], v - cross**2 / (p + 16.0))


def test_a_person_who_walks_is_one_track_that_begins_with_the_first_box():
    tracker = Tracker(10.0)
    rows = walk(tracker, range(1, 21)) + tracker.finish()
    assert [row.frame for row in rows] == list(range(1, 21))
    assert {row.track for row in rows} == {1}
    assert rows[4] == Row(5, 1, (120.0, 50.0, 20.0, 60.0), 0.9)


def test_two_boxes_are_not_yet_a_track():
    tracker = Tracker(10.0)
    walk(tracker, (1, 2))
    still(tracker, range(3, 200))
    assert tracker.finish() == []
    assert tracker.started == 0


def test_a_short_gap_is_filled_along_a_line_and_a_long_one_is_not():
    tracker = Tracker(10.0, TrackSettings(fill_seconds=0.3))
    walk(tracker, range(1, 11))
    still(tracker, (11, 12, 13))
    walk(tracker, range(14, 21))
    still(tracker, range(21, 26))
    walk(tracker, range(26, 31))
    rows = tracker.finish()
    assert [row.frame for row in rows] == [*range(1, 21), *range(26, 31)]
    assert {row.track for row in rows} == {1}
    np.testing.assert_allclose([row.box[0] for row in rows[10:13]], [144, 148, 152])


def test_a_track_goes_on_over_frames_that_nobody_looked_at_and_has_no_boxes_there():
    frames = [1, 2, 3, 5, 7, 11, 12, 13]
    tracker, rows, last = Tracker(10.0), [], 0
    for frame in frames:
        box = PERSON + np.array([12.0 * frame, 0, 0, 0])
        rows += tracker.update(frame, box[None], np.array([0.9]), missed=frame - last - 1)
        last = frame
    kept = Tracker(10.0)
    track_state.restore(kept, json.loads(json.dumps(track_state.dump(tracker))))
    for each in (tracker, kept):  # 14 was looked at, and is filled as ever
        ended = still(each, [14]) + walk(each, [15], speed=12.0) + each.finish()
        assert [row.frame for row in rows + ended] == [*frames, 14, 15]
        assert {row.track for row in rows + ended} == {1}


def test_an_uncertain_box_goes_on_with_a_track_that_had_a_box_when_somebody_last_looked():
    tracker = Tracker(10.0)
    walk(tracker, range(1, 6), speed=0)
    tracker.update(8, PERSON[None], np.array([0.3]), missed=2)
    assert [row.frame for row in tracker.finish()] == [1, 2, 3, 4, 5, 8]


def test_nobody_is_followed_over_a_long_time_in_which_nobody_looked():
    tracker = Tracker(10.0)
    walk(tracker, (1, 2), speed=0)
    tracker.update(1000, PERSON[None], np.array([0.9]), missed=997)
    tracker.update(1001, PERSON[None], np.array([0.9]))
    assert tracker.finish() == [], "two boxes and two are not three in a row"
    tracker = Tracker(10.0)
    walk(tracker, range(1, 11), speed=0)
    tracker.update(12, *NOTHING, missed=1)
    for frame in range(1000, 1003):
        tracker.update(frame, PERSON[None], np.array([0.9]), missed=987 if frame == 1000 else 0)
    assert [(row.frame, row.track) for row in tracker.finish()] == [(1000, 2), (1001, 2), (1002, 2)]
    assert not tracker.missed


def test_people_who_pass_each_other_keep_their_ids():
    tracker, rows = Tracker(10.0), []
    for frame in range(1, 41):
        right = PERSON + np.array([6.0 * frame, 0, 0, 0])
        left = PERSON + np.array([240 - 6.0 * frame, 8, 0, 0])
        rows += tracker.update(frame, np.stack([right, left] if frame % 2 else [left, right]), np.array([0.9, 0.9]))
    rows += tracker.finish()
    for track, direction in ((1, 6.0), (2, -6.0)):
        steps = np.diff([row.box[0] for row in rows if row.track == track])
        assert len(steps) == 39
        np.testing.assert_allclose(steps, direction)


def test_uncertain_boxes_go_on_with_a_track_but_begin_none():
    tracker = Tracker(10.0)
    assert walk(tracker, range(1, 6), score=0.3) + tracker.finish() == []
    walk(tracker, range(6, 10))
    walk(tracker, range(10, 20), score=0.3)
    assert [row.frame for row in tracker.finish()] == list(range(6, 20))


@pytest.mark.parametrize(
    ("angle", "away", "gap", "tracks"),
    [
        (0.2, 30.0, 30, 1),  # cos 0.2 = 0.98: the same person
        (1.2, 30.0, 30, 2),  # cos 1.2 = 0.36: somebody else
        (0.2, 900.0, 30, 2),  # nobody walks fifteen heights in three seconds
        (0.2, 30.0, 95, 2),  # forgotten
    ],
)
def test_somebody_lost_is_taken_up_by_appearance(angle, away, gap, tracks):
    tracker = Tracker(10.0)
    walk(tracker, range(1, 11), speed=0.0, appearance=lambda boxes: np.tile([1.0, 0.0], (len(boxes), 1)))
    still(tracker, range(11, 11 + gap))
    later = range(11 + gap, 21 + gap)
    looks = np.array([np.cos(angle), np.sin(angle)])
    walk(
        tracker,
        later,
        0.0,
        PERSON + np.array([away, 0, 0, 0]),
        appearance=lambda boxes: np.tile(looks, (len(boxes), 1)),
    )
    tracker.finish()
    assert tracker.started == tracks


def test_of_two_who_look_alike_none_is_taken_up():
    tracker = Tracker(10.0)
    for frame in range(1, 11):
        tracker.update(
            frame,
            np.stack([PERSON, PERSON + np.array([80.0, 0, 0, 0])]),
            np.ones(2),
            lambda boxes: np.eye(2)[:1].repeat(len(boxes), 0),
        )
    still(tracker, range(11, 40))
    walk(tracker, range(40, 50), 0.0, PERSON + np.array([40.0, 0, 0, 0]), appearance=lambda boxes: np.eye(2)[:1])
    assert tracker.started == 3


def test_a_tracker_that_goes_on_from_its_state_reports_the_same():
    rng = np.random.default_rng(0)
    found = [
        (
            rng.uniform([0, 0, 20, 60], [200, 200, 220, 260], (4, 4))
            if n % 7
            else np.tile(PERSON, (2, 1)) + rng.normal(0, 1, (2, 4)),
            n,
        )
        for n in range(1, 71)
    ]

    def run(tracker, frames):
        rows = []
        for boxes, n in frames:
            looks = np.random.default_rng(n)
            rows += tracker.update(
                n, boxes, np.linspace(0.3, 0.9, len(boxes)), lambda b, looks=looks: looks.normal(size=(len(b), 3))
            )
        return rows

    settings = TrackSettings(confirm=1, remember_seconds=2.0)
    whole = Tracker(10.0, settings)
    expected = run(whole, found) + whole.finish()
    first, second = Tracker(10.0, settings), Tracker(10.0, settings)
    rows = run(first, found[:36])
    track_state.restore(second, json.loads(json.dumps(track_state.dump(first))))
    rows += run(second, found[36:]) + second.finish()
    assert rows == expected
    assert len({row.track for row in rows}) > 5
    assert [row.frame for row in rows] == sorted(row.frame for row in rows)


def test_what_is_held_does_not_grow_with_the_video():
    tracker = Tracker(10.0)
    walk(tracker, range(1, 151), speed=0.0)
    assert len(tracker.waiting) + sum(len(track.rows) for track in tracker.tracks) < 100


@pytest.mark.parametrize("fields", [{"certain": 0.1, "uncertain": 0.5}, {"confirm": 0}])
def test_settings_that_make_no_sense_are_refused(fields):
    with pytest.raises(InputError):
        TrackSettings(**fields)
