"""The detector that comes with OpenCV, the adapters of other libraries by stand-ins, and vectors of boxes."""

import sys
import types

import numpy as np
import pytest

from vreid_jax.datasets.scenes.drawing import draw_camera
from vreid_jax.datasets.scenes.plan import SceneSettings
from vreid_jax.tracking.appearance import Looks
from vreid_jax.tracking.detection import find_people
from vreid_jax.tracking.detectors import make_detector
from vreid_jax.tracking.hog import merged


def test_hog_finds_people_of_a_scene():
    found = people = 0
    detector = make_detector("hog")
    settings = SceneSettings(cameras=3, people=12, seconds=8, width=480, height=270, fps=5, seed=0)
    for number, (frame, seen) in enumerate(draw_camera(settings, 3)):
        if number % 13:
            continue
        boxes, scores = find_people(detector, frame)
        assert ((scores > 0) & (scores < 1)).all()
        for each in seen:
            if each.visibility > 0.9:
                people += 1
                x, _, w, h = each.box
                near = np.abs(boxes[:, 0] + boxes[:, 2] / 2 - x - w / 2) < 0.3 * w + 4
                found += bool((near & (np.abs(boxes[:, 3] - h) < 0.35 * h)).any())
    assert people >= 4
    assert found >= 0.5 * people


def test_windows_on_one_person_are_merged_by_their_values():
    boxes = np.array([[0.0, 0, 10, 20], [4, 0, 10, 20], [100, 0, 10, 20]])
    values = np.array([0.5, 0.5 + np.log(3) / 2, 0.2])  # weights 1 to 3
    found, best = merged(boxes, values)
    np.testing.assert_allclose(found, [[3, 0, 10, 20], [100, 0, 10, 20]])
    np.testing.assert_allclose(best, values[[1, 2]])
    again, _ = merged(boxes[[2, 0, 1]], values[[2, 0, 1]])
    np.testing.assert_array_equal(again, found)


class Tensor(np.ndarray):
    """What a test needs of a tensor."""

    def cpu(self):
        return self

    def numpy(self):
        return np.asarray(self)


def tensor(values):
    return np.array(values, np.float64).view(Tensor)


def test_the_adapter_of_ultralytics(monkeypatch):
    class YOLO:
        def __init__(self, name):
            assert name == "yolo11n.pt"

        def predict(self, frame, classes, conf, verbose):
            assert frame[0, 0].tolist() == [3, 2, 1]  # blue first
            assert (classes, verbose) == ([0], False)
            return [
                types.SimpleNamespace(boxes=types.SimpleNamespace(xyxy=tensor([[10, 20, 30, 80]]), conf=tensor([0.7])))
            ]

    monkeypatch.setitem(sys.modules, "ultralytics", types.SimpleNamespace(YOLO=YOLO))
    frame = np.tile(np.array([1, 2, 3], np.uint8), (100, 100, 1))
    boxes, scores = find_people(make_detector("ultralytics"), frame)
    assert (boxes.tolist(), scores.tolist()) == ([[10, 20, 20, 60]], [0.7])


def test_the_adapter_of_rfdetr(monkeypatch):
    class RFDETRNano:
        def predict(self, picture, threshold):
            assert picture == "picture"
            return types.SimpleNamespace(
                xyxy=np.array([[0, 0, 9, 9], [10, 20, 30, 80]]),
                class_id=np.array([3, 1]),
                confidence=np.array([0.9, 0.7]),
            )

    monkeypatch.setitem(sys.modules, "rfdetr", types.SimpleNamespace(RFDETRNano=RFDETRNano))
    image = types.SimpleNamespace(fromarray=lambda frame: "picture")
    monkeypatch.setitem(sys.modules, "PIL", types.SimpleNamespace(Image=image))
    boxes, scores = find_people(make_detector("rfdetr"), np.zeros((100, 100, 3), np.uint8))
    assert (boxes.tolist(), scores.tolist()) == ([[10, 20, 20, 60]], [0.7])


def test_boxes_of_a_frame_get_unit_vectors_of_their_pixels():
    class MeanColour:
        def embed_tracklets(self, tracklets, batch_frames):
            assert batch_frames > 0
            rows = range(len(tracklets))
            return np.stack([tracklets.read(row, np.zeros(4, int)).mean((0, 1, 2)) for row in rows]).astype(np.float32)

    frame = np.zeros((20, 40, 3), np.uint8)
    frame[:, :20, 0], frame[:, 20:, 2] = 200, 100
    looks = object.__new__(Looks)
    looks.model = MeanColour()
    vectors = looks.in_frame(frame)(np.array([[0.0, 0, 20, 20], [20, 5, 10, 10], [-50, 0, 9, 9]]))
    np.testing.assert_allclose(vectors, [[1, 0, 0], [0, 0, 1], [0, 0, 0]])


@pytest.mark.slow
def test_disturbed_true_boxes_of_a_scene_are_followed():
    from scipy.optimize import linear_sum_assignment

    from vreid_jax.datasets.scenes.writing import visits
    from vreid_jax.datasets.video.box_linking import iou
    from vreid_jax.tracking.association import Tracker

    settings = SceneSettings(cameras=3, people=12, seconds=40)
    truth = [each for _, seen in draw_camera(settings, 3) for each in seen]
    boxes: dict[int, list] = {}
    for visit in visits(truth, settings.fps):
        for seen in visit.boxes:
            boxes.setdefault(seen.frame, []).append((visit.track, seen.box))
    rng, tracker, rows = np.random.default_rng(0), Tracker(float(settings.fps)), []
    for frame in range(1, settings.frames + 1):
        found = [box for _, box in boxes.get(frame, []) if rng.random() >= 0.1]
        found = np.array(found, float).reshape(-1, 4)
        found = found + rng.normal(0, 0.05, found.shape) * found[:, [2, 3, 2, 3]]
        rows += tracker.update(frame, found, np.full(len(found), 0.9))
    rows += tracker.finish()
    tracks, total = [track for of_frame in boxes.values() for track, _ in of_frame], sum(map(len, boxes.values()))
    together = np.zeros((max(tracks) + 1, tracker.started + 1))
    for row in rows:
        for track, box in boxes.get(row.frame, []):
            if iou(np.array([box], float), np.array([row.box]))[0, 0] >= 0.5:
                together[track, row.track] += 1
    agreed = together[linear_sum_assignment(together, maximize=True)].sum()
    assert 2 * agreed / (total + len(rows)) >= 0.8  # IDF1 of Ristani et al., 2016
