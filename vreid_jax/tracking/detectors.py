"""Detectors by their names."""

from collections.abc import Callable

from vreid_jax.errors import InputError
from vreid_jax.tracking.detection import Detector


def make_detector(name: str) -> Detector:
    """Return a detector by its name: `hog`, `onnx:FILE`, `torchvision`, `rfdetr`, or `ultralytics:WEIGHTS`.

    Raises:
      InputError: when there is none of that name, its library is not installed, or its file cannot be used.
    """
    kind, _, rest = name.partition(":")
    if kind not in _MAKERS:
        raise InputError(f"there is no detector {name!r}: they are {', '.join(_MAKERS)}; onnx:FILE for one of your own")
    return _MAKERS[kind](rest)


def _hog(rest: str) -> Detector:
    from vreid_jax.tracking.hog import HogDetector

    if rest:
        raise InputError(f"--detector=hog:{rest}: hog takes nothing behind its name")
    return HogDetector()


def _onnx(rest: str) -> Detector:
    from vreid_jax.tracking.onnx_detector import OnnxDetector

    return OnnxDetector(rest)


def _installed(kind: str) -> Callable[[str], Detector]:
    def make(rest: str) -> Detector:
        from vreid_jax.tracking import installed

        return getattr(installed, kind)(rest)

    return make


_MAKERS: dict[str, Callable[[str], Detector]] = {
    "hog": _hog,
    "onnx": _onnx,
    "torchvision": _installed("torchvision"),
    "rfdetr": _installed("rfdetr"),
    "ultralytics": _installed("ultralytics"),
}
