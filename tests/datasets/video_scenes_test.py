"""Scenes: videos of a street by several cameras, with true boxes and identities."""

import json

import cv2
import numpy as np
import pytest

from vreid_jax.cli import data_scene
from vreid_jax.cli.command import main
from vreid_jax.datasets.scenes import drawing
from vreid_jax.datasets.scenes.drawing import Seen, draw_camera, people_of
from vreid_jax.datasets.scenes.optics import make_camera
from vreid_jax.datasets.scenes.plan import SceneSettings, areas, way_of
from vreid_jax.datasets.scenes.writing import render_scene, visits
from vreid_jax.datasets.video.track_file import read_tracks
from vreid_jax.errors import InputError

SMALL = SceneSettings(cameras=2, people=4, seconds=3, width=320, height=180, fps=5)


@pytest.fixture(scope="module")
def drawn():
    return list(draw_camera(SMALL, 2))


def test_the_same_settings_give_the_same_pixels(drawn):
    again = [frame for (frame, _), _ in zip(draw_camera(SMALL, 2), range(4), strict=False)]
    assert all(np.array_equal(frame, before) for frame, (before, _) in zip(again, drawn, strict=False))
    other = next(draw_camera(SceneSettings(**{**vars(SMALL), "seed": 1}), 2))[0]
    assert not np.array_equal(other, drawn[0][0])


def test_what_moves_is_inside_the_true_boxes(drawn):
    frames = np.stack([frame for frame, _ in drawn]).astype(np.int16)
    moved = (np.abs(frames - np.median(frames, axis=0)) > 40).any(-1)
    inside = np.zeros_like(moved)
    for t, (_, seen) in enumerate(drawn):
        for x, y, w, h in (each.box for each in seen):
            assert 0 <= x < x + w <= SMALL.width
            assert 0 <= y < y + h <= SMALL.height
            inside[t, y : y + h, x : x + w] = True
    assert moved.sum() > 500
    assert (moved & inside).sum() > 0.95 * moved.sum()


def test_visibility_is_the_share_that_nobody_in_front_hides(drawn):
    free = [s for _, seen in drawn for s in seen if s.visibility > 0.98]
    assert free
    settings = SceneSettings(cameras=1, people=2, seconds=2, width=320, height=180, fps=5)
    near, far = people_of(settings)
    camera = make_camera(settings, 1)
    ahead = camera.axes[2, :2] / np.hypot(*camera.axes[2, :2])
    for person, metres in ((near, 7.0), (far, 9.0)):
        person.way.place[:] = camera.place[:2] + metres * ahead
    times = np.arange(2)
    figures = [drawing._figure(settings, camera, n, p, times)[0] for n, p in ((1, near), (2, far))]
    empty = np.zeros((180, 320, 3), np.uint8)
    _, (front, back) = drawing._draw(camera, empty, 0, 1, figures, [], np.random.default_rng(0))
    assert front.visibility == 1
    assert 0 < back.visibility < 0.6
    _, (alone,) = drawing._draw(camera, empty, 0, 1, figures[1:], [], np.random.default_rng(0))
    assert (alone.visibility, alone.box) == (1, back.box)


def test_cameras_project_as_a_pinhole_does():
    camera = make_camera(SMALL, 1)
    ahead = camera.place + 10.0 * camera.axes[2]
    aside = ahead + 2.0 * camera.axes[0]
    pixels, depth = camera.project(np.stack([ahead, aside]))
    np.testing.assert_allclose(pixels, [[160, 90], [160 + 0.2 * camera.focal, 90]], atol=1e-9)
    np.testing.assert_allclose(depth, [10, 10])
    np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("apart", [False, True])
def test_cameras_share_people_only_where_they_overlap(apart):
    settings = SceneSettings(cameras=3, people=12, seconds=40, width=320, height=180, fps=5, apart=apart)
    cameras = [make_camera(settings, camid) for camid in (1, 2, 3)]
    together = np.zeros((3, 3), int)
    for person in people_of(settings):
        points = np.concatenate([person.way.place, np.full((settings.frames, 1), person.tall / 2)], 1)
        inside = []
        for camera in cameras:
            pixels, depth = camera.project(points)
            margin = 0.2 * camera.focal * person.tall / np.maximum(depth, 0.1)
            inside.append((depth > 2) & (pixels[:, 0] > -margin) & (pixels[:, 0] < settings.width + margin))
        together += np.array([[(a & b).sum() for a in inside] for b in inside])
    assert (np.diag(together) > 100).all()
    assert together[0, 2] == together[1, 2] == 0
    assert (together[0, 1] == 0) == apart


def test_people_walk_at_walking_speed():
    settings = SceneSettings(people=3)
    assert areas(settings) == [0.0, 6.0, 23.0]
    for person in (1, 2, 3):
        way = way_of(settings, person)
        steps = np.hypot(*np.diff(way.place, axis=0).T) * settings.fps
        assert steps.max() < 2.0
        assert 0.8 < np.median(steps[steps > 0.3]) < 1.8


def test_visits_end_when_a_person_leaves_but_not_when_they_are_hidden():
    def seen(frames, identity, visibility=1.0):
        return [Seen(frame, identity, (0, 0, 9, 9), visibility) for frame in frames]

    truth = [
        *seen(range(1, 6), 8),
        *seen(range(6, 10), 8, visibility=0.1),  # hidden
        *seen(range(10, 13), 8),
        *seen(range(17, 21), 8),  # away for four frames: less than a second
        *seen(range(30, 36), 8),  # another visit
        *seen(range(3, 9), 2),
        *seen(range(1, 2), 5),  # short
    ]
    found = visits(sorted(truth, key=lambda s: (s.frame, s.identity)), fps=5)
    assert [(v.track, v.identity, len(v.boxes)) for v in found] == [(1, 8, 12), (2, 2, 6), (3, 8, 6)]


def test_a_scene_is_videos_texts_and_a_description(tmp_path, capsys):
    out = tmp_path / "street"
    flags = [
        "--cameras=1",
        "--people=3",
        "--seconds=3",
        "--width=160",
        "--height=90",
        "--fps=5",
        "--quiet",
        f"--out={out}",
    ]
    assert main(["data", "scene", *flags]) == 0
    printed, errors = capsys.readouterr()
    assert printed.startswith(f"{out}: 1 cameras, 15 frames, ")
    assert errors == ""
    about = json.loads((out / "scene.json").read_text())
    (camera,) = about["cameras"]
    assert camera == {
        "name": "camera1",
        "camid": 1,
        "video": "camera1.webm",
        "fps": 5,
        "start": "2026-03-02T09:00:00+00:00",
    }
    reader = cv2.VideoCapture(str(out / camera["video"]))
    assert reader.get(cv2.CAP_PROP_FPS) == 5
    frames = [reader.read()[1] for _ in range(15)]
    assert not reader.read()[0]
    first = next(draw_camera(SceneSettings(cameras=1, people=3, seconds=3, width=160, height=90, fps=5), 1))[0]
    assert cv2.PSNR(frames[0], first[..., ::-1].copy()) > 28
    boxes = read_tracks(out / "camera1.tracks.txt")
    assert {str(box.track) for box in boxes} == set(about["tracks"]["camera1"])
    truth = [line.split(",") for line in (out / "camera1.gt.txt").read_text().splitlines()]
    assert {(int(t[0]), *map(float, t[2:6])) for t in truth} >= {
        (b.frame, b.left, b.top, b.width, b.height) for b in boxes
    }
    assert main(["data", "scene", *flags]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"cameras": 0}, "--cameras=0 must be from 1 to 64"),
        ({"seconds": 9999}, "--seconds=9999 must be from 1 to 3600"),
        ({"width": 321}, "must be even"),
        ({"seed": -1}, "--seed=-1 must not be negative"),
    ],
)
def test_settings_out_of_range_are_refused(fields, sentence):
    with pytest.raises(InputError, match=sentence):
        SceneSettings(**fields)


@pytest.mark.slow
def test_cameras_are_drawn_by_processes_as_by_one(tmp_path):
    settings = SceneSettings(cameras=2, people=4, seconds=2, width=160, height=90, fps=5)
    render_scene(settings, tmp_path / "two")
    for camid in (1, 2):
        reader = cv2.VideoCapture(str(tmp_path / f"two/camera{camid}.webm"))
        for frame, _ in draw_camera(settings, camid):
            assert cv2.PSNR(reader.read()[1], frame[..., ::-1].copy()) > 28


def test_the_text_names_the_counts():
    outcome = {"out": "x", "cameras": 2, "frames": 6, "tracks": 5, "identities": 4}
    assert data_scene.text(outcome) == "x: 2 cameras, 6 frames, 5 tracks of 4 identities"
