"""Functions of this library's networks as ONNX models; importing it needs the extra `onnx`."""

from vreid_jax.export.onnx.conversion import convert
from vreid_jax.export.onnx.graph import OPSET

__all__ = ["OPSET", "convert"]
