"""Detectors of libraries that may be installed; each is imported when it is asked for, and none is needed."""

from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import given_path
from vreid_jax.tracking.detection import Detector

_LEAST = 0.05  # score


def torchvision(weights: str) -> Detector:
    """Return torchvision's Faster R-CNN with a MobileNet, or the detection model of the given name."""
    try:
        import torch
        from torchvision.models import detection
    except ImportError as error:
        raise _missing("torchvision", "python3 -m pip install 'vreid_jax[track-torchvision]'") from error
    name = weights or "fasterrcnn_mobilenet_v3_large_fpn"
    make: Any = getattr(detection, name, None)
    if not callable(make) or name.startswith("_"):
        raise InputError(f"torchvision has no detection model {name!r}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network: Any = make(weights="DEFAULT")
    network = network.to(device).eval()

    def detect(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        picture = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1))).to(device).float() / 255
        with torch.inference_mode():
            (found,) = network([picture])
        people = (found["labels"] == 1) & (found["scores"] >= _LEAST)
        return _from_corners(found["boxes"][people].cpu().numpy()), found["scores"][people].cpu().numpy()

    return detect


def rfdetr(weights: str) -> Detector:
    """Return RF-DETR Nano, or the class of the package `rfdetr` of the given name (`RFDETRSmall`)."""
    try:
        import rfdetr as package
    except ImportError as error:
        raise _missing("rfdetr", "python3 -m pip install rfdetr") from error
    name = weights or "RFDETRNano"
    make: Any = getattr(package, name, None)
    if not name.startswith("RFDETR") or not callable(make):
        raise InputError(f"rfdetr has no model {name!r}: name one of its classes, as in rfdetr:RFDETRSmall")
    network: Any = make()

    def detect(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from PIL import Image

        found = network.predict(Image.fromarray(frame), threshold=_LEAST)
        people = np.asarray(found.class_id) == 1
        return _from_corners(np.asarray(found.xyxy)[people]), np.asarray(found.confidence)[people]

    return detect


def ultralytics(weights: str) -> Detector:
    """Return a model of Ultralytics, which is under the AGPL: its weights, a file or a name that it downloads."""
    try:
        from ultralytics import YOLO
    except ImportError as error:
        raise _missing("ultralytics", "python3 -m pip install ultralytics (AGPL-3.0)") from error
    name = weights or "yolo11n.pt"
    if "/" in name and not given_path(name).is_file():
        raise InputError(f"the weights {name} do not exist")
    network: Any = YOLO(str(Path(name)))

    def detect(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = network.predict(np.ascontiguousarray(frame[..., ::-1]), classes=[0], conf=_LEAST, verbose=False)[
            0
        ].boxes
        return _from_corners(found.xyxy.cpu().numpy()), found.conf.cpu().numpy()

    return detect


def _from_corners(corners: np.ndarray) -> np.ndarray:
    corners = np.asarray(corners, np.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)


def _missing(name: str, how: str) -> InputError:
    return InputError(f"--detector={name} needs the library {name}: {how}")
