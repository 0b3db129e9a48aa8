"""Optimizers from a phase's settings."""

import re

import optax

from vreid_jax.config.fields import matching
from vreid_jax.config.phases import Phase
from vreid_jax.errors import InputError
from vreid_jax.training.schedules import make_schedule


def _scale_by_pattern(multipliers) -> optax.GradientTransformation:
    def factor(name: str) -> float:
        return next((factor for pattern, factor in multipliers if re.fullmatch(pattern, name)), 1.0)

    def update(updates, state, params=None):
        del params
        return {name: value * factor(name) for name, value in updates.items()}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _decays(patterns):
    """Return which parameters have weight decay, as a function of them; None for all."""
    if not patterns:
        return None
    return lambda params: {name: not matching([name], patterns) for name in params}


def make_optimizer(phase: Phase, total_steps: int) -> optax.GradientTransformation:
    """Return the optimizer of a phase, for flat parameters `name -> array`.

    Weight decay is added to the gradient, as the papers' PyTorch optimizers do, except that of `adamw`, which is
    decoupled: a parameter shrinks by `learning_rate * weight_decay` of itself (Loshchilov and Hutter 2019). Parameters
    that `no_decay` names are spared. Momentum does not contain the learning rate.

    Raises:
      InputError: for an optimizer or a schedule that does not exist.
    """
    config = phase.optimizer
    direction = {
        "sgd": lambda: optax.trace(config.momentum),
        "adam": lambda: optax.scale_by_adam(config.b1, config.b2, config.eps),
        "adamw": lambda: optax.scale_by_adam(config.b1, config.b2, config.eps),
        "amsgrad": lambda: optax.scale_by_amsgrad(config.b1, config.b2, config.eps),
    }
    if config.name not in direction:
        raise InputError(f"optimizer.name is {config.name!r}; it is one of {', '.join(direction)}")
    decay, along = optax.add_decayed_weights(config.weight_decay, _decays(config.no_decay)), direction[config.name]()
    return optax.chain(
        *((along, decay) if config.name == "adamw" else (decay, along)),
        _scale_by_pattern(phase.lr_multipliers),
        optax.scale_by_learning_rate(make_schedule(phase.schedule, config.learning_rate, total_steps)),
    )
