"""Learning-rate schedules: each registers the name that a phase gives it."""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from vreid_jax.config.phases import Schedule
from vreid_jax.errors import InputError

Maker = Callable[[Schedule, float | int, int], optax.Schedule]
SCHEDULES: dict[str, Maker] = {}


def register(name: str) -> Callable[[Maker], Maker]:
    """Make a schedule known by its name: a function of (fields, learning rate, total steps)."""

    def add(maker: Maker) -> Maker:
        if name in SCHEDULES:
            raise ValueError(
                f"schedule {name!r} is registered twice: a configuration file, which may be run more than once, does so "
                f"only if {name!r} is not in vreid_jax.training.schedules.SCHEDULES"
            )
        SCHEDULES[name] = maker
        return maker

    return add


@register("constant")
def _constant(schedule, learning_rate, total_steps):
    return optax.constant_schedule(learning_rate)


@register("step")
def _step(schedule, learning_rate, total_steps):
    drops: dict[int, float] = {}
    for step in (round(boundary * total_steps) for boundary in schedule.boundaries):
        drops[step] = drops.get(step, 1.0) * schedule.factor  # several may be at one step of a short phase
    return optax.piecewise_constant_schedule(learning_rate, drops)


@register("exponential")
def _exponential(schedule, learning_rate, total_steps):
    begin = round(schedule.start * total_steps)
    return optax.exponential_decay(
        learning_rate, max(total_steps - begin, 1), schedule.final_factor, transition_begin=begin
    )


@register("cosine")
def _cosine(schedule, learning_rate, total_steps):
    falling = optax.cosine_decay_schedule(
        learning_rate, max(total_steps - schedule.warmup_steps, 1), alpha=schedule.final_factor
    )
    return lambda step: falling(jnp.maximum(step - schedule.warmup_steps, 0))


@register("linear")
def _linear(schedule, learning_rate, total_steps):
    falling = optax.linear_schedule(
        learning_rate, learning_rate * schedule.final_factor, max(total_steps - schedule.warmup_steps, 1)
    )
    return lambda step: falling(jnp.maximum(step - schedule.warmup_steps, 0))


def make_schedule(schedule: Schedule, learning_rate: float | int, total_steps: int) -> optax.Schedule:
    """Return the learning rate as a function of the phase's step; positions in `schedule` are fractions of the phase.

    `constant`; `step`: times `factor` at each of `boundaries`; `exponential`: constant until `start`, then
    `learning_rate * final_factor ** ((step - start) / (total - start))`; `cosine`: from the end of the warm-up down to
    `learning_rate * final_factor` on half a cosine; `linear`: likewise on a line. A linear warm-up of `warmup_steps` multiplies it.

    Raises:
      InputError: for a name that does not exist.
    """
    if schedule.name not in SCHEDULES:
        raise InputError(f"schedule.name is {schedule.name!r}; it is one of {', '.join(SCHEDULES)}")
    rate = SCHEDULES[schedule.name](schedule, learning_rate, total_steps)
    if not schedule.warmup_steps:
        return rate
    return lambda step: rate(step) * jnp.minimum(1.0, (step + 1) / schedule.warmup_steps)
