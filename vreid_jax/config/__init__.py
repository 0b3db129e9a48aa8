"""Configurations: their fields, the datasets they can name, and the checks that no misspelt field survives."""

from vreid_jax.config.datasets import DATASETS, NUM_SPLITS, SMALL, dataset_name, dataset_of, default_protocols
from vreid_jax.config.defaults import default, evaluation_stream, phase
from vreid_jax.config.fields import field_names, finish, literal, nearest, set_field, unknown_field
from vreid_jax.config.files import explain_flag_error, from_file, parse_argument, pop_clip_length

__all__ = [
    "DATASETS",
    "NUM_SPLITS",
    "SMALL",
    "dataset_name",
    "dataset_of",
    "default",
    "default_protocols",
    "evaluation_stream",
    "explain_flag_error",
    "field_names",
    "finish",
    "from_file",
    "literal",
    "nearest",
    "parse_argument",
    "phase",
    "pop_clip_length",
    "set_field",
    "unknown_field",
]
