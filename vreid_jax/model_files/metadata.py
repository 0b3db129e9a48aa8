"""What the metadata of a model file hold, and a run's `results.json` of the same things, as shapes of JSON."""

from collections.abc import Mapping
from typing import Any

from vreid_jax.config.files import RUN_SHAPE

NUMBER = (float, None)  # null stands for no number
SCORES = {
    "num_queries?": float,
    "num_valid_queries?": float,
    "num_gallery?": float,
    "mAP": NUMBER,
    "mAP_trapezoid?": NUMBER,
    "rank1": NUMBER,
    "rank5?": NUMBER,
    "rank10?": NUMBER,
    "rank20?": NUMBER,
}
_THRESHOLDS = {
    "protocol": str,
    "metric?": str,
    "equal_error_rate": NUMBER,
    "false_accept_rate": [float],
    "threshold": [NUMBER],
    "true_accept_rate": [NUMBER],
}
OPEN_SET = ({**_THRESHOLDS, "of_vectors?": (_THRESHOLDS, None)}, None)
SHAPES = {
    "fields": {},
    "config": ({**RUN_SHAPE, "model": {}}, None),  # the file names the model itself
    "preprocessing": (
        {
            "height": int,
            "width": int,
            "mean": [float],
            "std": [float],
            "pixels": str,
            "clips": {str: {"kind": str, "length": int, "stride?": int}},
        },
        None,
    ),
    "scores": ({str: SCORES}, None),
    "step": (int, None),
    "inherited": ([str], None),
    "open_set": OPEN_SET,
    "adapted": (
        {
            "footage": [str],
            "tracks": int,
            "held_back": int,
            "from_model": str,
            "from_fingerprint": str,
            "seed": int,
            "score_before": float,
            "score": float,
            "synthetic?": (str, None),
        },
        None,
    ),
}
"""Of each part of the metadata that is JSON; all other parts are text."""


def validation_note(share: float | None) -> str:
    """Return what belongs behind the name of a dataset of which held-out training people are scored, else nothing."""
    return f", validation: {share:g} of the training people" if share else ""


def check_lengths(measured: Mapping[str, Any] | None) -> None:
    """Raise `ValueError` unless the thresholds of an `open_set` are as many as their rates."""
    for found in (measured, (measured or {}).get("of_vectors")):
        names = ("false_accept_rate", "threshold", "true_accept_rate")
        if found and len({len(found[name]) for name in names}) > 1:
            raise ValueError("open_set has more thresholds than rates, or fewer")
