"""Loss scaling for float16, whose gradients would vanish below 6e-8: grown while they are finite, halved when not."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

NAME = "loss_scale"
"""Of the scale in a state's `extra`, where the network computes in float16: `scale`, and `finite_steps` since it changed."""

START = 2.0**15
SMALLEST, LARGEST = 1.0, 2.0**24
STEPS_TO_GROW = 2000


def new_loss_scale() -> dict[str, jax.Array]:
    """Return the scale at the start of a phase."""
    return {"scale": jnp.float32(START), "finite_steps": jnp.int32(0)}


def scaled(loss: Any, extra: Mapping[str, Any]) -> Any:
    """Return the loss whose gradient is taken."""
    return loss * extra[NAME]["scale"] if NAME in extra else loss


def unscaled(grads: Any, extra: Mapping[str, Any]) -> Any:
    """Return the gradient of the loss itself."""
    return jax.tree.map(lambda g: g / extra[NAME]["scale"], grads) if NAME in extra else grads


def marked_if_stuck(loss: Any, grads: Any, extra: Mapping[str, Any]) -> Any:
    """Return the loss, or NaN where a gradient is not finite at the smallest scale, so that no step would ever be taken."""
    if NAME not in extra:
        return loss
    return jnp.where(_all_finite(grads) | (extra[NAME]["scale"] > SMALLEST), loss, jnp.nan)


def _all_finite(grads: Any) -> Any:
    return jnp.array([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]).all()


def kept_if_finite(grads: Any, new: Any, old: Any) -> Any:
    """Return the state after a step, which is skipped where a gradient is not finite.

    Then all stays as it was but the count of steps, from which dropout is drawn, and the scale, which is halved. After
    `STEPS_TO_GROW` steps with finite gradients it doubles.

    Args:
      grads: of the step, unscaled.
      new: the state after the step.
      old: the state before.
    """
    if NAME not in old.extra:
        return new
    finite = _all_finite(grads)
    state = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, old)
    before = old.extra[NAME]
    steps = jnp.where(finite, before["finite_steps"] + 1, 0)
    grow = steps >= STEPS_TO_GROW
    scale = jnp.where(finite, jnp.where(grow, before["scale"] * 2, before["scale"]), before["scale"] / 2)
    changed = {"scale": jnp.clip(scale, SMALLEST, LARGEST), "finite_steps": jnp.where(grow, 0, steps)}
    return state.replace(step=new.step, extra={**state.extra, NAME: changed})
