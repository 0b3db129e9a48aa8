"""The exponential moving average of the weights, which a phase keeps beside them and evaluation takes in their place."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

NAME = "ema"
"""Of the average in a state's `extra`: `params`, those that train, and `batch_stats`, nested by module."""


def new_average(trainable: Mapping[str, Any], batch_stats: Any) -> dict[str, Any]:
    """Return the average at the start of a phase: a copy of its flat trainable parameters and of the statistics."""
    values = {"params": unflatten_dict(dict(trainable), sep="/"), "batch_stats": batch_stats}
    return jax.tree.map(lambda x: jnp.array(x, copy=True), values)  # a step donates each buffer once


def after_step(average: Any, trainable: Mapping[str, Any], batch_stats: Any, decay: float | int, step: Any) -> Any:
    """Return `d · average + (1 - d) · new` with `d = min(decay, (1 + step) / (10 + step))`.

    The growing d, TensorFlow's, keeps the start of training out of the average; `step` counts from 0.
    """
    now = {"params": unflatten_dict(dict(trainable), sep="/"), "batch_stats": batch_stats}
    kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: kept * old + (1.0 - kept) * new, average, now)


def averaged(params: Any, batch_stats: Any, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables that stand for a state: the average where there is one, else the weights themselves."""
    variables = {"params": params, "batch_stats": batch_stats}
    if NAME not in extra:
        return variables
    return {
        name: unflatten_dict(flatten_dict(value) | flatten_dict(extra[NAME][name])) for name, value in variables.items()
    }
