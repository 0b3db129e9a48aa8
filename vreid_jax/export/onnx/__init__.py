"""Convert functions of this library's networks to ONNX models. Importing this package needs the extra `onnx`."""

from vreid_jax.export.onnx.conversion import convert
from vreid_jax.export.onnx.graph import OPSET

__all__ = ["OPSET", "convert"]
