"""One phase of training, from whatever step it has reached to its end."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from vreid_jax.errors import Interrupted, NonFiniteLoss
from vreid_jax.training.checkpoints import Checkpoints
from vreid_jax.training.metrics import DeferredMetrics, Diverged
from vreid_jax.training.position import Position
from vreid_jax.training.signals import StopRequest
from vreid_jax.training.state import TrainState


def run_phase(
    state: TrainState,
    position: Position,
    train_step: Callable,
    batches: Iterator[dict[str, Any]],
    metrics: DeferredMetrics,
    checkpoints: Checkpoints,
    *,
    total_steps: int,
    log_every: int,
    save_every: int,
    save_minutes: float | int,
    stop: StopRequest,
) -> tuple[TrainState, Position]:
    """Train until `total_steps` of this phase are done, and leave a checkpoint of the end.

    The order within a step: fetch a batch, step, count, log, then save if it is time or if a signal asked to stop.
    Before anything is saved, every loss up to then has been fetched and found finite, and so have the network's
    variables: a loss is older than the update it leads to.

    Args:
      state: at `position`.
      position: the steps done so far.
      train_step: of `make_train_step`, its seed bound; the state is donated to it.
      batches: of this process, on its devices, from `position` on: `runtime.mesh.batches_on_device`.
      metrics: takes the metrics of every step.
      checkpoints: where the state is saved.
      total_steps: of the phase.
      log_every: steps between two logs; several processes agree at these on a stop and on the time to save.
      save_every: steps between two checkpoints, 0 for not by steps.
      save_minutes: minutes between two checkpoints, 0 for not by time.
      stop: says whether a signal has asked to stop.

    Returns:
      The state and the position at the end of the phase.

    Raises:
      NonFiniteLoss: naming the step; nothing is saved after it.
      Interrupted: after a signal, once the state is saved.
    """

    def save() -> None:
        metrics.settle()
        if not _all_finite((state.params, state.batch_stats)):
            raise Diverged("a parameter is not a finite number", position.step)
        checkpoints.save(position.step, state, position)

    saved = time.monotonic()
    try:
        while position.phase_step < total_steps:
            started = time.perf_counter()
            batch = next(batches)
            state, values = train_step(state, batch)
            metrics.add(position.step + 1, len(batch["label"]), values)
            position = position.after_step(time.perf_counter() - started)
            at_interval = position.phase_step % log_every == 0
            if stopped(stop, at_interval=at_interval):
                save()
                checkpoints.wait()
                raise Interrupted(
                    f"stopped at step {position.step} ({position.phase}, {position.phase_step} of {total_steps}) and "
                    "saved; run the same command again to go on",
                    stop.number or 15,
                )
            due = save_every > 0 and position.phase_step % save_every == 0
            if (_late(saved, save_minutes, at_interval) or due) and position.phase_step < total_steps:
                save()
                saved = time.monotonic()
        save()
        return state, position
    except Diverged as error:
        raise NonFiniteLoss(_explain(error, position.phase, checkpoints)) from error


@jax.jit
def _all_finite(variables) -> jax.Array:
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)]).all()


def _explain(error: Diverged, phase: str, checkpoints: Checkpoints) -> str:
    checkpoints.wait()  # one may still be on its way to the disk
    last = checkpoints.latest()
    kept = "no checkpoint is from before that" if last is None else f"the last good checkpoint is step {last}"
    again = "" if last is None else ", with --config.init_from=THIS_ONE to keep what it has learned"
    return (
        f"{error.what} at step {error.step} of phase {phase}; {kept}. A smaller learning rate is the usual remedy: "
        f"start a new workdir with it{again}"
    )


def stopped(stop: StopRequest, at_interval: bool = True) -> bool:
    """Return whether to stop now.

    Several processes agree on it, at the steps that are logged, so that all save the same one.
    """
    if jax.process_count() == 1:
        return bool(stop.number)
    return at_interval and bool(np.any(multihost_utils.process_allgather(np.int32(stop.number))))


def _late(since: float | int, minutes: float | int, at_interval: bool) -> bool:
    """Return whether so many minutes have passed; of several processes the first one has the clock."""
    if not minutes:
        return False
    late = time.monotonic() - since >= 60 * minutes
    if jax.process_count() == 1:
        return late
    return at_interval and bool(multihost_utils.broadcast_one_to_all(np.int32(late)))
