"""TFDS builders of video re-identification data; importing them registers them, and imports no JAX, no TensorFlow."""

from vreid_jax.datasets.loading import load_builder

__all__ = ["load_builder"]
