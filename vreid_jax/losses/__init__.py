"""Losses: functions of arrays that return a float32 scalar."""

from vreid_jax.losses.batch_hard_triplet import batch_hard_triplet, batch_hard_triplet_from_distances
from vreid_jax.losses.oim import OIMMemory, oim
from vreid_jax.losses.softmax_cross_entropy import softmax_cross_entropy

__all__ = ["OIMMemory", "batch_hard_triplet", "batch_hard_triplet_from_distances", "oim", "softmax_cross_entropy"]
