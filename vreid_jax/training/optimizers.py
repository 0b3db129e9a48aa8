"""Optimizers from a phase's settings."""

import math
import re

import jax
import jax.numpy as jnp
import optax
from optax import contrib

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


def _is_matrix(name: str, value) -> bool:
    """Tell whether Muon moves this parameter: a kernel, but not that of a classifier."""
    return value.ndim >= 2 and not re.fullmatch(r"(.*/)?classifier/kernel", name)


def _muon(momentum: float, adam: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return the direction of Muon for kernels, as matrices `[taps * C_in, C_out]`, and `adam` for everything else.

    The momentum of a kernel (Nesterov's, with the bias correction of Dozat 2016) is made nearly orthogonal by five
    Newton-Schulz steps (Jordan et al. 2024) and multiplied by `0.2 sqrt(max(rows, columns))`, so that its root mean
    square is that of Adam's steps (Liu et al. 2025).
    """

    def axes(params):
        return _of_arrays(params, lambda value: contrib.MuonDimensionNumbers(tuple(range(value.ndim - 1)), -1))

    def kinds(params):
        return {name: "matrix" if _is_matrix(name, value) else "other" for name, value in params.items()}

    def to_rms(updates, state, params=None):
        del params
        return _of_arrays(updates, lambda x: x * 0.2 * math.sqrt(max(x.size // x.shape[-1], x.shape[-1]))), state

    orthogonal = contrib.scale_by_muon(beta=momentum, weight_dimension_numbers=axes)
    scaled = optax.chain(orthogonal, optax.GradientTransformation(lambda params: optax.EmptyState(), to_rms))
    return optax.partition({"matrix": scaled, "other": adam}, kinds)


def _of_arrays(params, function):
    """Apply a function to the arrays; in their place `optax.partition` masks those of the other part."""
    return {name: value if isinstance(value, optax.MaskedNode) else function(value) for name, value in params.items()}


def _decays(patterns):
    """Return which parameters have weight decay, as a function of them; None for all."""
    if not patterns:
        return None
    return lambda params: {name: not matching([name], patterns) for name in params}


def make_optimizer(phase: Phase, total_steps: int) -> optax.GradientTransformation:
    """Return the optimizer of a phase, for flat parameters `name -> array`.

    Weight decay is added to the gradient, as the papers' PyTorch optimizers do, except that of `adamw`, which is
    decoupled: a parameter shrinks by `learning_rate * weight_decay` of itself (Loshchilov and Hutter 2019). Parameters
    that `no_decay` names are spared. With `clip_norm`, gradients are shortened to that norm over all parameters first.
    Momentum does not contain the learning rate.

    Raises:
      InputError: for an optimizer or a schedule that does not exist.
    """
    config = phase.optimizer
    direction = {
        "sgd": lambda: optax.trace(config.momentum),
        "adam": lambda: optax.scale_by_adam(config.b1, config.b2, config.eps),
        "adamw": lambda: optax.scale_by_adam(config.b1, config.b2, config.eps),
        "amsgrad": lambda: scale_by_amsgrad(config.b1, config.b2, config.eps),
        "muon": lambda: _muon(config.momentum, optax.scale_by_adam(config.b1, config.b2, config.eps)),
    }
    if config.name not in direction:
        raise InputError(f"optimizer.name is {config.name!r}; it is one of {', '.join(direction)}")
    decay, along = optax.add_decayed_weights(config.weight_decay, _decays(config.no_decay)), direction[config.name]()
    return optax.chain(
        *((optax.clip_by_global_norm(config.clip_norm),) if config.clip_norm else ()),
        *((along, decay) if config.name == "adamw" else (decay, along)),
        _scale_by_pattern(phase.lr_multipliers),
        optax.scale_by_learning_rate(make_schedule(phase.schedule, config.learning_rate, total_steps)),
    )
