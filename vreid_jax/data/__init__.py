"""From tracklets on disk to batches in memory: NumPy only, independent of JAX and of the model."""

from vreid_jax.data.augment import augment
from vreid_jax.data.clips import sample_clip, split_clips
from vreid_jax.data.corruption import corrupt, draw_corrupted, tracklet_generator
from vreid_jax.data.flow_stacks import read_inputs
from vreid_jax.data.loader import (
    check_clip,
    clips_as_evaluated,
    evaluation_items,
    num_batches_per_epoch,
    train_batches,
)
from vreid_jax.data.resizing import resize
from vreid_jax.data.samplers import ShuffleSampler
from vreid_jax.data.source import JoinedSource, Tracklets, TrackletSource, check_split, decode_frames

__all__ = [
    "JoinedSource",
    "ShuffleSampler",
    "TrackletSource",
    "Tracklets",
    "augment",
    "check_clip",
    "check_split",
    "clips_as_evaluated",
    "corrupt",
    "decode_frames",
    "draw_corrupted",
    "evaluation_items",
    "num_batches_per_epoch",
    "read_inputs",
    "resize",
    "sample_clip",
    "split_clips",
    "tracklet_generator",
    "train_batches",
]
