"""Export trained models as StableHLO and ONNX, for programs without this library."""

from vreid_jax.export.parts import PLATFORMS, Part, check, model_parts
from vreid_jax.export.reading import Exported, read, read_function, read_onnx
from vreid_jax.export.writing import export_model

__all__ = [
    "PLATFORMS",
    "Exported",
    "Part",
    "check",
    "export_model",
    "model_parts",
    "read",
    "read_function",
    "read_onnx",
]
