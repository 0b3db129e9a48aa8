"""Losses: functions of arrays that return a float32 scalar, and the terms that a phase can name."""

from vreid_jax.losses.batch_hard_triplet import batch_hard_triplet, batch_hard_triplet_from_distances
from vreid_jax.losses.center import CenterMemory, center
from vreid_jax.losses.circle import circle
from vreid_jax.losses.oim import OIMMemory, oim
from vreid_jax.losses.softmax_cross_entropy import softmax_cross_entropy
from vreid_jax.losses.supervised_contrastive import contrastive_of_pairs, supervised_contrastive
from vreid_jax.losses.terms import TERMS, Term, default_fields, parse_terms, register

__all__ = [
    "TERMS",
    "CenterMemory",
    "OIMMemory",
    "Term",
    "batch_hard_triplet",
    "batch_hard_triplet_from_distances",
    "center",
    "circle",
    "contrastive_of_pairs",
    "default_fields",
    "oim",
    "parse_terms",
    "register",
    "softmax_cross_entropy",
    "supervised_contrastive",
]
