"""Weights that others trained, brought into the models of this library."""

from vreid_jax.pretrained.from_torch import from_torch

__all__ = ["from_torch"]
