"""Load weights of other projects into the models of this library."""

from vreid_jax.model_files.weights_file import load_weights, save_weights
from vreid_jax.pretrained.from_torch import from_torch

__all__ = ["from_torch", "load_weights", "save_weights"]
