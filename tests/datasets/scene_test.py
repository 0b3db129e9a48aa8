import dataclasses
import subprocess
import sys

import cv2
import numpy as np
import pytest

from vreid_jax.datasets.walkers.plan import Size, make_plan
from vreid_jax.datasets.walkers.scene import draw_tracklet, encode
from vreid_jax.datasets.walkers.walkers_dataset_builder import CONFIGS

PLAN = make_plan(CONFIGS["small"])
LONER = PLAN.test[-CONFIGS["small"].distractors - CONFIGS["small"].junk - 1].pid  # who has no twin


def _of(pid, index, length=8, **changes):
    """A clean tracklet of `pid`; `index` decides background, light, box and starting phase."""
    like = next(t for t in PLAN.test if t.pid == pid)
    clean = {"occluded": False, "crossed": False, "lost": False} | changes
    return dataclasses.replace(like, index=index, length=length, **clean)


def _frames(pid, start, count=40):
    drawn = [draw_tracklet(PLAN, _of(pid, index)) for index in range(start, start + count)]
    return np.concatenate(drawn).astype(np.float32)


def test_frames_have_the_size_asked_for():
    for size in (Size(height=64, width=32), Size(height=128, width=64), Size(height=256, width=128)):
        plan = make_plan(size)
        frames = draw_tracklet(plan, plan.train[0])
        assert frames.dtype == np.uint8
        assert frames.shape == (plan.train[0].length, size.height, size.width, 3)


def test_jitter_moves_boxes_and_nothing_else():
    plan = make_plan(CONFIGS["jitter"])
    assert (plan.train, plan.test, plan.gaits.keys()) == (PLAN.train, PLAN.test, PLAN.gaits.keys())
    assert CONFIGS["jitter"] == dataclasses.replace(CONFIGS["small"], box_jitter=3.0)
    far = make_plan(dataclasses.replace(CONFIGS["small"], box_jitter=10.0))
    moved = [[np.abs(draw_tracklet(p, t).astype(float) - draw_tracklet(PLAN, t)).mean() for t in PLAN.test[:6]]
             for p in (plan, far)]  # fmt: skip
    assert min(moved[0]) > 2
    assert np.mean(moved[1]) > np.mean(moved[0])


def test_a_tracklet_is_a_function_of_seed_split_and_index():
    first = [draw_tracklet(PLAN, PLAN.train[i]) for i in (3, 5)]
    again = [draw_tracklet(PLAN, PLAN.train[i]) for i in (5, 3)][::-1]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    other = make_plan(dataclasses.replace(CONFIGS["small"], seed=1))
    assert not np.array_equal(draw_tracklet(other, other.train[3])[0], first[0][0])


def _gap(a, b):
    """How far the pixelwise means and standard deviations over frames are apart, in grey levels."""
    return np.abs(a.mean(0) - b.mean(0)).mean() + np.abs(a.std(0) - b.std(0)).mean()


@pytest.mark.slow
def test_single_frames_of_twins_differ_no_more_than_those_of_one_person():
    stranger = _frames(PLAN.twins[5][0], 1000)
    for a, b in PLAN.twins[:3]:
        ours, ours_again, twin = _frames(a, 0), _frames(a, 1000), _frames(b, 1000)
        assert 0.9 < _gap(ours, twin) / _gap(ours, ours_again) < 1.1
        # Under equal cameras, light and boxes only the sampling of phases is left; strangers are far apart.
        assert _gap(ours_again, twin) < 0.25 * _gap(ours_again, stranger)


def _stride_frequency(frames):
    """The frequency whose first two harmonics hold most of the power of the lower half's pixels."""
    pixels = frames[:, frames.shape[1] // 2 :].astype(np.float64).mean(-1).reshape(len(frames), -1)
    pixels = (pixels - pixels.mean(0)) * np.hanning(len(frames))[:, None]
    turns = np.exp(-2j * np.pi * np.arange(0.03, 0.5, 0.001)[:, None] * np.arange(len(frames)))
    power = (np.abs(turns @ pixels) ** 2).sum(-1)
    candidates = np.arange(0.04, 0.2, 0.001)
    at = lambda f: power[np.clip(np.round((f - 0.03) / 0.001).astype(int), 0, len(power) - 1)]  # noqa: E731
    return candidates[np.argmax(at(2 * candidates))]


def test_the_stride_frequency_can_be_measured_from_the_sequence():
    right = []
    for pair in PLAN.twins[:8]:
        measured = [_stride_frequency(draw_tracklet(PLAN, _of(pid, 7, length=96))) for pid in pair]
        true = [PLAN.gaits[pid].frequency for pid in pair]
        right.append((measured[0] > measured[1]) == (true[0] > true[1]))
    assert np.mean(right) >= 0.85


def test_twins_with_the_same_phases_and_arm_offset_are_the_same_pixels():
    a, b = PLAN.twins[0]
    phase = np.linspace(0, 5, 8)
    gaits = {**PLAN.gaits, b: dataclasses.replace(PLAN.gaits[b], arm_offset=PLAN.gaits[a].arm_offset)}
    alike = dataclasses.replace(PLAN, gaits=gaits)
    np.testing.assert_array_equal(
        draw_tracklet(alike, _of(a, 11), phase=phase), draw_tracklet(alike, _of(b, 11), phase=phase)
    )


@pytest.mark.parametrize("event", ["occluded", "crossed", "lost"])
def test_events_change_some_frames_and_not_all(event):
    plain = draw_tracklet(PLAN, _of(LONER, 21, length=24))
    struck = draw_tracklet(PLAN, _of(LONER, 21, length=24, **{event: True}))
    changed = (plain != struck).any((1, 2, 3))
    assert 2 <= changed.sum() <= 15  # at most 60 % of the tracklet, and not a pixel elsewhere
    first, last = np.flatnonzero(changed)[[0, -1]]
    assert changed[first : last + 1].all()


def test_encoded_frames_decode_to_nearly_the_same_pixels():
    frames = draw_tracklet(PLAN, PLAN.train[0])
    for frame, data in zip(frames, encode(frames), strict=True):
        assert data[:2] == b"\xff\xd8"
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(decoded.astype(int) - frame).mean() < 4


DRAW = """
import time

from vreid_jax.datasets.walkers.plan import Size, make_plan
from vreid_jax.datasets.walkers.scene import draw_tracklet, encode

plan = make_plan(Size(height=128, width=64))
draw_tracklet(plan, plan.train[0])
for first in range(0, 60, 10):
    start, frames = time.process_time(), 0
    for tracklet in plan.train[first : first + 10]:
        frames += len(encode(draw_tracklet(plan, tracklet)))
    print(frames / (time.process_time() - start))
"""


@pytest.mark.slow
def test_a_core_draws_and_encodes_a_thousand_frames_of_128x64_a_second():
    """In a process of its own, without the checks of types and shapes that tests do at every call.

    The best of six: what else the machine does slows some of them, and speeds up none.
    """
    done = subprocess.run([sys.executable, "-c", DRAW], capture_output=True, text=True, check=True)
    assert max(map(float, done.stdout.split())) > 1000
