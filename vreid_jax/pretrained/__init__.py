"""Weights that others trained, brought into the models of this library."""

from vreid_jax.pretrained.from_torch import from_torch
from vreid_jax.pretrained.weights_file import load_weights, save_weights

__all__ = ["from_torch", "load_weights", "save_weights"]
