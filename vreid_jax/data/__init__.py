"""From tracklets on disk to batches in memory: NumPy only, no JAX, nothing of the model."""

from vreid_jax.data.augment import augment
from vreid_jax.data.clips import sample_clip, split_clips
from vreid_jax.data.loader import evaluation_items, num_batches_per_epoch, train_batches
from vreid_jax.data.source import TrackletSource, decode_frames

__all__ = [
    "TrackletSource",
    "augment",
    "decode_frames",
    "evaluation_items",
    "num_batches_per_epoch",
    "sample_clip",
    "split_clips",
    "train_batches",
]
