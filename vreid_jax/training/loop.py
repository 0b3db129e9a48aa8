"""One phase of training, from whatever step it has reached to its end."""

import dataclasses
import math
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from vreid_jax.errors import InputError, NonFiniteLoss
from vreid_jax.runtime.mesh import put_batch
from vreid_jax.training import metrics as logs
from vreid_jax.training.checkpoints import Checkpoints
from vreid_jax.training.position import Position
from vreid_jax.training.signals import Interrupted, StopRequest
from vreid_jax.training.state import TrainState


def run_phase(
    state: TrainState,
    place: Position,
    train_step: Callable,
    batches,
    total_steps: int,
    *,
    mesh: Mesh,
    checkpoints: Checkpoints,
    writer: logs.MetricsWriter,
    config,
    stop: StopRequest,
) -> tuple[TrainState, Position]:
    """Train until `total_steps` of this phase are done, and leave a checkpoint of the end.

    The order within a step: fetch a batch, step, count, log, then save if it is time or if a signal asked to stop.
    Values are fetched one interval late, so that the device never waits for the log; before anything is saved, every
    loss up to then has been fetched and found finite, and so have the network's variables: a loss is older than the
    update it leads to.

    Raises:
      NonFiniteLoss: naming the step; nothing is saved after it.
      Interrupted: after a signal, once the state is saved.
    """
    pending: list[tuple[int, dict]] = []
    # It counts the steps whose values have come back, not those that were only asked for.
    bar = logs.progress_bar(total_steps, place.phase_step, place.phase, config.logging.progress)
    bar.set_postfix_str("compiling")
    last_time, last_step = time.perf_counter(), place.phase_step
    clips = 0

    def settle(count: int) -> None:
        """Fetch the oldest `count` metrics, check them all and log the newest."""
        if count <= 0:  # a save in the middle of an interval has settled its steps already
            return
        fetched = jax.device_get(pending[:count])
        del pending[:count]
        for step, values in fetched:
            if not math.isfinite(values["loss"]):
                raise NonFiniteLoss(_diverged(f"the loss is {values['loss']}", step, place.phase, checkpoints))
        step, values = fetched[-1]
        now = time.perf_counter()
        nonlocal last_time, last_step
        rate = clips * (step - place.steps_before - last_step) / max(now - last_time, 1e-9)
        last_time, last_step = now, step - place.steps_before
        for step, values in fetched:
            if (step - place.steps_before) % config.logging.every_steps == 0 or step == fetched[-1][0]:
                numbers = {name: float(value) for name, value in values.items()}
                writer.write(step, {"phase": place.phase, **numbers, "clips_per_second": rate})
        bar.set_postfix_str(f"loss {values['loss']:.3f}, {rate:.0f} clips/s", refresh=False)
        bar.update(last_step - bar.n)

    def save() -> None:
        settle(len(pending))
        if not _all_finite((state.params, state.batch_stats)):
            raise NonFiniteLoss(_diverged("a parameter is no number", place.step, place.phase, checkpoints))
        place.iterator = batches.get_state()
        checkpoints.save(place.step, state, dataclasses.asdict(place))

    try:
        while place.phase_step < total_steps:
            started = time.perf_counter()
            batch = next(batches)
            clips = len(batch["label"]) * jax.process_count()
            state, values = train_step(state, put_batch(batch, mesh))
            place.phase_step += 1
            pending.append((place.step, values))
            log = place.phase_step % config.logging.every_steps == 0
            if log:
                settle(len(pending) - config.logging.every_steps)
            place.seconds += time.perf_counter() - started
            if stopped(stop, at_interval=log):
                save()
                checkpoints.wait()
                raise Interrupted(
                    f"stopped at step {place.step} ({place.phase}, {place.phase_step} of {total_steps}) and saved; "
                    "run the same command again to go on",
                    stop.number or 15,
                )
            if place.phase_step % config.checkpoint.every_steps == 0 and place.phase_step < total_steps:
                save()
        save()
        return state, place
    finally:
        bar.close()


@jax.jit
def _all_finite(variables) -> jax.Array:
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)]).all()


def _diverged(what: str, step: int, phase: str, checkpoints: Checkpoints) -> str:
    checkpoints.wait()  # one may still be on its way to the disk
    last = checkpoints.latest()
    kept = "no checkpoint is from before that" if last is None else f"the last good checkpoint is step {last}"
    again = "" if last is None else ", with --config.init_from=THIS_ONE to keep what it has learned"
    return (
        f"{what} at step {step} of phase {phase}; {kept}. A smaller learning rate is the usual remedy: "
        f"start a new workdir with it{again}"
    )


def stopped(stop: StopRequest, at_interval: bool = True) -> bool:
    """Whether to stop now. Several processes agree on it, at the steps that are logged, so that all save the same one."""
    if jax.process_count() == 1:
        return bool(stop.number)
    return at_interval and bool(np.any(multihost_utils.process_allgather(np.int32(stop.number))))


def phase_length(phase, batches_per_epoch: int) -> int:
    """Return the number of steps of a phase.

    Raises:
      InputError: unless exactly one of `total_epochs` and `total_steps` is set.
    """
    if bool(phase.total_epochs) == bool(phase.total_steps) or min(phase.total_epochs, phase.total_steps) < 0:
        raise InputError(
            f"a phase needs one of total_epochs and total_steps, the other 0; "
            f"they are {phase.total_epochs} and {phase.total_steps}"
        )
    return phase.total_steps or phase.total_epochs * batches_per_epoch
