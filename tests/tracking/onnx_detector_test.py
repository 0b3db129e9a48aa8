"""Detectors in ONNX files: what is fed to them and how each layout is read, against constants worked out by hand."""

import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.tracking.detection import find_people, suppress
from vreid_jax.tracking.detectors import make_detector
from vreid_jax.tracking.onnx_detector import OnnxDetector, decode, letterboxed, stretched

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def write(path, outputs, shape=(1, 3, 32, 32), inputs=(), kind=None):
    """A network that gives the same outputs for every picture."""
    from onnx import TensorProto, helper, numpy_helper

    picture = helper.make_tensor_value_info("images", kind or TensorProto.FLOAT, shape)
    more = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, 2]) for name in inputs]
    constants = [numpy_helper.from_array(value, f"{name}_value") for name, value in outputs.items()]
    nodes = [helper.make_node("Identity", [f"{name}_value"], [name]) for name in outputs]
    told = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in outputs.items()
    ]
    graph = helper.make_graph(nodes, "people", [picture, *more], told, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_letterbox_keeps_the_shape_and_pads_with_grey():
    frame = np.zeros((10, 20, 3), np.uint8)
    frame[..., 0] = 255  # red
    picture, scale = letterboxed(frame, (40, 40), unit=False, bgr=True)
    assert picture.shape == (1, 3, 40, 40)
    assert scale.tolist() == [2.0, 2.0]
    assert picture[0, :, 5, 5].tolist() == [0, 0, 255]
    assert picture[0, :, 19, 39].tolist() == [0, 0, 255]
    assert picture[0, :, 20, 0].tolist() == [114, 114, 114]
    picture, _ = letterboxed(frame, (40, 40), unit=True, bgr=False)
    assert picture[0, :, 5, 5].tolist() == [1, 0, 0]


def test_a_stretched_picture_is_normalised_as_imagenet():
    picture, scale = stretched(np.full((10, 20, 3), 255, np.uint8), (40, 40), normalise=True)
    assert scale.tolist() == [2.0, 4.0]
    np.testing.assert_allclose(picture[0, :, 3, 3], [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225], rtol=1e-5)


def test_yolox(tmp_path):
    table = np.zeros((1, 16 + 4 + 1, 85), np.float32)
    table[0, 9] = [0.5, 0.25, np.log(2), np.log(3), 0.9, 0.8, *[0.1] * 79]  # the cell (1, 2) of stride 8
    table[0, 17] = [0.5, 0.5, 0.0, 0.0, 0.9, 0.0, 1.0, *[0] * 78]  # a bicycle
    table[0, 20] = [0.5, 0.5, -1.0, -1.0, 0.6, 0.5, *[0] * 79]  # the cell of stride 32
    detector = OnnxDetector(str(write(tmp_path / "yolox.onnx", {"output": table})))
    boxes, scores = find_people(detector, np.zeros((64, 64, 3), np.uint8))
    # centre (1.5 * 8, 2.25 * 8), size (16, 24) in 32 pixels; the frame has 64.
    side = 32 / np.e * 2
    np.testing.assert_allclose(boxes, [[8, 12, 32, 48], [32 - side / 2, 32 - side / 2, side, side]], atol=1e-4)
    np.testing.assert_allclose(scores, [0.72, 0.3], atol=1e-6)


def test_yolov8(tmp_path):
    columns = np.array([[[16, 16.5, 4], [12, 12, 4], [8, 8, 2], [20, 20, 4], [0.8, 0.7, 0.01]]], np.float32)
    columns = np.concatenate([columns, np.zeros((1, 5, 4), np.float32)], 2)
    detector = OnnxDetector(str(write(tmp_path / "v8.onnx", {"output0": columns})))
    boxes, scores = find_people(detector, np.zeros((32, 32, 3), np.uint8))
    np.testing.assert_allclose(boxes, [[12, 2, 8, 20]], atol=1e-5)  # the second overlaps it, the third is too weak
    np.testing.assert_allclose(scores, [0.8], atol=1e-6)


def test_rows_without_overlaps(tmp_path):
    rows = np.array([[[2, 4, 10, 28, 0.9, 0], [2, 4, 10, 28, 0.9, 2], [0, 0, 0, 0, 0, 0]]], np.float32)
    boxes, scores = OnnxDetector(str(write(tmp_path / "v10.onnx", {"output0": rows})))(np.zeros((32, 64, 3), np.uint8))
    np.testing.assert_allclose(boxes, [[4, 8, 16, 48]], atol=1e-5)
    np.testing.assert_allclose(scores, [0.9], atol=1e-6)


@pytest.mark.parametrize(("classes", "person"), [(91, 1), (80, 0)])
def test_boxes_and_logits_of_detr(tmp_path, classes, person):
    logits = np.full((1, 3, classes), -9.0, np.float32)
    logits[0, 0, person], logits[0, 1, 5] = 0.0, 3.0
    shares = np.array([[[0.5, 0.5, 0.25, 0.5], [0.5, 0.5, 0.1, 0.1], [0.2, 0.2, 0.1, 0.1]]], np.float32)
    file = write(tmp_path / "detr.onnx", {"labels": logits, "dets": shares})
    boxes, scores = find_people(OnnxDetector(str(file)), np.zeros((100, 200, 3), np.uint8))
    np.testing.assert_allclose(boxes, [[75, 25, 50, 50]], atol=1e-4)
    np.testing.assert_allclose(scores, [0.5], atol=1e-6)


def test_rt_detr_with_its_post_processing(tmp_path):
    outputs = {
        "labels": np.array([[0, 3]], np.int64),
        "boxes": np.array([[[8, 4, 16, 28], [0, 0, 9, 9]]], np.float32),
        "scores": np.array([[0.75, 0.9]], np.float32),
    }
    file = write(tmp_path / "rt.onnx", outputs, inputs=("orig_target_sizes",))
    boxes, scores = OnnxDetector(str(file))(np.zeros((32, 64, 3), np.uint8))
    np.testing.assert_allclose(boxes, [[16, 4, 16, 24]])  # stretched, not letterboxed
    assert scores.tolist() == [0.75]


def test_other_outputs_are_not_a_layout():
    with pytest.raises(ValueError, match="another table"):
        decode({"x": np.zeros((1, 7, 3))}, (32, 32))
    with pytest.raises(ValueError, match="not"):
        decode({"x": np.zeros((1, 7))}, (32, 32))


def test_files_that_are_not_such_a_detector_are_one_sentence(tmp_path):
    (tmp_path / "text.onnx").write_text("no network")
    cases = [
        ("onnx:", "name the file of the detector"),
        (f"onnx:{tmp_path / 'gone.onnx'}", "gone.onnx does not exist"),
        (f"onnx:{tmp_path / 'text.onnx'}", "text.onnx is not an ONNX model"),
        (
            f"onnx:{write(tmp_path / 'flat.onnx', {'y': np.zeros((1, 4), np.float32)}, (1, 9))}",
            "does not take one picture",
        ),
        (
            f"onnx:{write(tmp_path / 'more.onnx', {'y': np.zeros((1, 4), np.float32)}, inputs=('z',))}",
            "not known here: z",
        ),
        ("yolo", "there is no detector 'yolo': they are hog, onnx, torchvision, rfdetr, ultralytics"),
        ("hog:x", "hog takes nothing"),
    ]
    for name, words in cases:
        with pytest.raises(InputError, match=words):
            make_detector(name)
    detector = OnnxDetector(str(write(tmp_path / "odd.onnx", {"y": np.zeros((1, 7, 3), np.float32)})))
    with pytest.raises(InputError, match=r"odd.onnx gives \{'y': \[1, 7, 3\]\}; known are"):
        detector(np.zeros((32, 32, 3), np.uint8))


def test_what_a_detector_returns_is_cut_to_the_picture_and_checked():
    frame = np.zeros((50, 100, 3), np.uint8)
    boxes, scores = find_people(
        lambda frame: ([[-10, -10, 40, 40], [0, 0, np.nan, 9], [200, 0, 9, 9]], [2.0, 0.5, 0.5]), frame
    )
    np.testing.assert_allclose(boxes, [[0, 0, 30, 30]])
    assert scores.tolist() == [1.0]
    for wrong in (None, ([[1, 2, 3]], [0.5]), ([[1, 2, 3, 4]], [0.5, 0.5])):
        with pytest.raises(InputError, match="does not return boxes"):
            find_people(lambda frame, wrong=wrong: wrong, frame)


def test_the_better_of_two_that_overlap_stays():
    boxes = np.array([[0.0, 0, 10, 10], [1, 0, 10, 10], [50, 0, 10, 10]])
    assert suppress(boxes, np.array([0.5, 0.9, 0.7]), 0.5).tolist() == [1, 2]


@pytest.mark.parametrize("name", ["torchvision", "rfdetr", "ultralytics"])
def test_a_library_that_is_missing_is_named(name, monkeypatch):
    for module in ("torch", "torchvision", "rfdetr", "ultralytics"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(InputError, match=f"--detector={name} needs the library {name}: python3 -m pip install"):
        make_detector(name)
