"""Any detector as an ONNX file, run by onnxruntime: the outputs of YOLOX, YOLOv8 and its successors, RT-DETR and RF-DETR."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import check_readable, given_path
from vreid_jax.tracking.detection import suppress

_OVERLAP = 0.65  # IoU above which the weaker of two boxes goes
_LEAST = 0.05  # score
_GREY = 114  # what pads a picture to the network's size
_MEAN, _STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
_COCO_91 = (90, 91)  # classes of RF-DETR
_DEFAULT_SIZE = 640  # where a file leaves height and width open
_LAYOUTS = (
    "[1, N, 85] of YOLOX (centre, size, objectness, classes), [1, 84, N] of YOLOv8, [1, N, 6] (corners, score, class), or "
    "two outputs, boxes [1, N, 4] and logits [1, N, C], of RT-DETR and RF-DETR"
)

Arrays = list[np.ndarray]


class OnnxDetector:
    """A detector in a file; class 0 is a person, as in COCO's 80 classes; 1 of RF-DETR's 91."""

    def __init__(self, path: str):
        """Open the file.

        Raises:
          InputError: when onnxruntime is not installed, or the file is not such a detector.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(
                "a detector in an ONNX file needs onnxruntime: python3 -m pip install 'vreid_jax[track]'"
            ) from error
        if not path:
            raise InputError("name the file of the detector: --detector=onnx:FILE")
        file = given_path(path)
        if not file.exists():
            raise InputError(f"the detector {path} does not exist")
        check_readable(file)
        self.path = path
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is wrong is said in the error
        try:
            self._session: Any = onnxruntime.InferenceSession(str(file), options, providers=_providers(onnxruntime))
        except Exception as error:  # onnxruntime's own, of which it exports none
            reason = next(iter(str(error).splitlines()), "")
            raise InputError(f"the detector {path} is not an ONNX model that onnxruntime can run ({reason})") from error
        inputs = self._session.get_inputs()
        self._names = [each.name for each in self._session.get_outputs()]
        pictures = [each for each in inputs if len(each.shape) == 4]
        if len(pictures) != 1 or pictures[0].type not in ("tensor(float)", "tensor(float16)"):
            raise InputError(
                f"the detector {path} does not take one picture [1, 3, H, W] of floats, but {[each.shape for each in inputs]}"
            )
        (picture,) = pictures
        self._input, self._half = picture.name, picture.type == "tensor(float16)"
        self._sizes = next((each.name for each in inputs if each.name == "orig_target_sizes"), None)  # of RT-DETR
        others = [each.name for each in inputs if each.name not in (self._input, self._sizes)]
        if others:
            raise InputError(f"the detector {path} has inputs that are not known here: {', '.join(others)}")
        height, width = ((size if isinstance(size, int) and size > 0 else _DEFAULT_SIZE) for size in picture.shape[2:])
        self.size = (height, width)
        self._prepare = self._preparation()

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes `[N, 4]` (left, top, width, height) and scores `[N]` of the people in uint8 `[H, W, 3]` RGB."""
        picture, scale = self._prepare(frame)
        feed: dict[str, np.ndarray] = {self._input: picture.astype(np.float16 if self._half else np.float32)}
        if self._sizes:
            feed[self._sizes] = np.array([self.size[::-1]], np.int64)
        outputs = dict(zip(self._names, self._session.run(None, feed), strict=True))
        corners, scores = self._decode(outputs)
        corners = np.asarray(corners, np.float64) / np.concatenate([scale, scale])
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        good = np.flatnonzero((scores >= _LEAST) & np.isfinite(boxes).all(1))
        kept = good[suppress(boxes[good], scores[good], _OVERLAP)]
        return boxes[kept], scores[kept]

    def _preparation(self) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Return how a frame becomes the network's input: by what its kind, told from its outputs, was trained with."""
        names = {each.name: each.shape for each in self._session.get_outputs()}
        if self._sizes or {"labels", "boxes", "scores"} <= set(names):
            return lambda frame: stretched(frame, self.size, normalise=False)
        if len(names) == 2:
            of_rf_detr = any(shape[-1] in _COCO_91 for shape in names.values())
            return lambda frame: stretched(frame, self.size, normalise=of_rf_detr)
        if len(names) != 1:
            raise InputError(f"the detector {self.path} has the outputs {names}; known are {_LAYOUTS}")
        (shape,) = names.values()
        yolox = len(shape) == 3 and isinstance(shape[2], int) and shape[2] >= 6 and self._is_yolox(shape)
        return lambda frame: letterboxed(frame, self.size, unit=not yolox, bgr=yolox)

    def _is_yolox(self, shape) -> bool:
        """YOLOX has a row a cell of three grids; others with rows of boxes have far fewer."""
        cells = sum((self.size[0] // stride) * (self.size[1] // stride) for stride in (8, 16, 32))
        return shape[1] == cells

    def _decode(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return corners `[N, 4]` in pixels of the network's input, and scores `[N]`, of people."""
        try:
            return decode(outputs, self.size)
        except ValueError as error:
            shapes = {name: list(value.shape) for name, value in outputs.items()}
            raise InputError(f"the detector {self.path} gives {shapes}; known are {_LAYOUTS}") from error


def _providers(onnxruntime) -> list[str]:
    known = onnxruntime.get_available_providers()
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in known]


def letterboxed(frame: np.ndarray, size: tuple[int, int], *, unit: bool, bgr: bool) -> tuple[np.ndarray, np.ndarray]:
    """Fit a frame into the top left corner of a grey picture; return it `[1, 3, H, W]` and the scale `[2]` (x, y).

    Args:
      frame: uint8 `[H, W, 3]` RGB.
      size: height and width of the picture.
      unit: whether levels become 0 … 1, else they stay 0 … 255.
      bgr: whether blue comes first.
    """
    scale = min(size[0] / frame.shape[0], size[1] / frame.shape[1])
    height, width = max(1, int(frame.shape[0] * scale)), max(1, int(frame.shape[1] * scale))
    picture = np.full((*size, 3), _GREY, np.uint8)
    picture[:height, :width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    levels = picture[..., ::-1] if bgr else picture
    values = levels.astype(np.float32) / (255.0 if unit else 1.0)
    return values.transpose(2, 0, 1)[None], np.array([scale, scale])


def stretched(frame: np.ndarray, size: tuple[int, int], *, normalise: bool) -> tuple[np.ndarray, np.ndarray]:
    """Resize a frame to the network's size, whatever its shape; return it `[1, 3, H, W]` in 0 … 1 and the scale `[2]`."""
    values = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255.0
    if normalise:
        values = (values - _MEAN) / _STD
    return values.transpose(2, 0, 1)[None], np.array([size[1] / frame.shape[1], size[0] / frame.shape[0]])


def decode(outputs: dict[str, np.ndarray], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the people in the outputs of a network: corners `[N, 4]` in pixels of its input, and scores `[N]`.

    Args:
      outputs: name → array, with a batch of one.
      size: height and width of the input.

    Raises:
      ValueError: when they are of no known layout.
    """
    if {"labels", "boxes", "scores"} <= set(outputs):  # RT-DETR with its post-processing, in pixels of the input
        people = np.asarray(outputs["labels"])[0] == 0
        return np.asarray(outputs["boxes"])[0][people], np.asarray(outputs["scores"])[0][people]
    arrays = [np.asarray(value, np.float64) for value in outputs.values()]
    if any(array.ndim != 3 or len(array) != 1 for array in arrays):
        raise ValueError("not [1, N, …]")
    if len(arrays) == 2:
        return _detr(arrays, size)
    if len(arrays) == 1:
        return _one_table(arrays[0][0], size)
    raise ValueError("other outputs")


def _detr(arrays: Arrays, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as shares of the picture (centre, size), and logits of classes."""
    boxes, logits = sorted((array[0] for array in arrays), key=lambda array: array.shape[1] != 4)
    if boxes.shape[1] != 4 or len(boxes) != len(logits) or logits.shape[1] == 4:
        raise ValueError("not boxes and logits")
    scores = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    # RF-DETR counts as COCO's files do, from 1 to 90, with a class 0 that nothing has; RT-DETR has the 80 that are in use.
    person = 1 if logits.shape[1] in _COCO_91 else 0
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    return corners * np.array([size[1], size[0]] * 2), scores[:, person]


def _one_table(table: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    grids = [(size[0] // stride, size[1] // stride, stride) for stride in (8, 16, 32)]
    if len(table) == sum(height * width for height, width, _ in grids) and table.shape[1] >= 6:
        return _yolox(table, grids)
    if table.shape[1] == 6 and len(table) != 6:  # corners, score, class: already without overlaps
        people = table[:, 5] == 0
        return table[people, :4], table[people, 4]
    if table.shape[0] >= 5 and table.shape[1] > table.shape[0]:  # YOLOv8: a column a box, no objectness
        boxes = table[:4].T
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        return corners, table[4]
    raise ValueError("another table")


def _yolox(table: np.ndarray, grids: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as offsets in the cells of three grids, and logarithms of sizes in cells."""
    places, strides = [], []
    for height, width, stride in grids:
        y, x = np.mgrid[0:height, 0:width]
        places.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((height * width, 1), float(stride)))
    stride = np.concatenate(strides)
    centre = (table[:, :2] + np.concatenate(places)) * stride
    half = np.exp(np.clip(table[:, 2:4], -20, 20)) * stride / 2
    return np.concatenate([centre - half, centre + half], 1), table[:, 4] * table[:, 5]
