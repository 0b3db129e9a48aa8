"""Optimizers from a phase's settings."""

import re

import jax
import jax.numpy as jnp
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


def scale_by_amsgrad(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Return AMSGrad as PyTorch computes it: the maximum is of the raw second moments, and is corrected for bias then.

    `optax.scale_by_amsgrad` takes the maximum of corrected moments, in which the first gradients count as if all had
    been like them: where they were large, its steps stay smaller for good.
    """

    def update(updates, state, params=None):
        del params
        count = state.count + 1
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.square(g), state.nu, updates)
        nu_max = jax.tree.map(jnp.maximum, state.nu_max, nu)
        first, second = 1 - b1**count, 1 - b2**count
        directions = jax.tree.map(lambda m, v: m / first / (jnp.sqrt(v / second) + eps), mu, nu_max)
        return directions, optax.ScaleByAmsgradState(count=count, mu=mu, nu=nu, nu_max=nu_max)

    return optax.GradientTransformation(optax.scale_by_amsgrad(b1, b2, eps).init, update)


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
        "amsgrad": lambda: scale_by_amsgrad(config.b1, config.b2, config.eps),
    }
    if config.name not in direction:
        raise InputError(f"optimizer.name is {config.name!r}; it is one of {', '.join(direction)}")
    decay, along = optax.add_decayed_weights(config.weight_decay, _decays(config.no_decay)), direction[config.name]()
    return optax.chain(
        *((along, decay) if config.name == "adamw" else (decay, along)),
        _scale_by_pattern(phase.lr_multipliers),
        optax.scale_by_learning_rate(make_schedule(phase.schedule, config.learning_rate, total_steps)),
    )
