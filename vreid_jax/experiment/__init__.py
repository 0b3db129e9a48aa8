"""Whole runs of a configuration in a workdir."""

from vreid_jax.experiment.run import train_and_evaluate

__all__ = ["train_and_evaluate"]
