"""Optimizers and learning-rate schedules from a phase's configuration."""

import re

import jax
import optax

from vreid_jax.errors import InputError


def make_schedule(config, learning_rate: float, total_steps: int) -> optax.Schedule:
    """Return the learning rate as a function of the phase's step; positions in `config` are fractions of the phase.

    `constant`; `step`: times `factor` at each of `boundaries`; `exponential`: constant until `start`, then
    `learning_rate * final_factor ** ((step - start) / (total - start))`. A linear warm-up of `warmup_steps` multiplies it.

    Raises:
      InputError: for a name that does not exist.
    """
    if config.name == "constant":
        schedule = optax.constant_schedule(learning_rate)
    elif config.name == "step":
        drops = {round(boundary * total_steps): config.factor for boundary in config.boundaries}
        schedule = optax.piecewise_constant_schedule(learning_rate, drops)
    elif config.name == "exponential":
        begin = round(config.start * total_steps)
        schedule = optax.exponential_decay(
            learning_rate, max(total_steps - begin, 1), config.final_factor, transition_begin=begin
        )
    else:
        raise InputError(f"schedule.name is {config.name!r}; it is one of constant, step, exponential")
    if not config.warmup_steps:
        return schedule
    return lambda step: schedule(step) * jax.numpy.minimum(1.0, (step + 1) / config.warmup_steps)


def _scale_by_pattern(multipliers) -> optax.GradientTransformation:
    def factor(name: str) -> float:
        return next((factor for pattern, factor in multipliers if re.fullmatch(pattern, name)), 1.0)

    def update(updates, state, params=None):
        del params
        return {name: value * factor(name) for name, value in updates.items()}, state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def make_optimizer(phase, total_steps: int) -> optax.GradientTransformation:
    """Return the optimizer of a phase, for flat parameters `name -> array`.

    Weight decay is added to the gradient, as the papers' PyTorch optimizers do, and momentum does not contain the
    learning rate.

    Raises:
      InputError: for an optimizer that does not exist.
    """
    config = phase.optimizer
    direction = {
        "sgd": lambda: optax.trace(config.momentum),
        "adam": lambda: optax.scale_by_adam(config.b1, config.b2, config.eps),
        "amsgrad": lambda: optax.scale_by_amsgrad(config.b1, config.b2, config.eps),
    }
    if config.name not in direction:
        raise InputError(f"optimizer.name is {config.name!r}; it is one of {', '.join(direction)}")
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        direction[config.name](),
        _scale_by_pattern(tuple(phase.lr_multipliers)),
        optax.scale_by_learning_rate(make_schedule(phase.schedule, config.learning_rate, total_steps)),
    )
