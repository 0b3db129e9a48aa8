"""The phases of training: how each begins, what its state is made of, and where a run goes on."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from vreid_jax import data, models
from vreid_jax.config.checks import error_context
from vreid_jax.config.phases import Phase
from vreid_jax.errors import InputError
from vreid_jax.experiment.initialisation import keep
from vreid_jax.experiment.phase_data import PhaseData
from vreid_jax.experiment.setup import Setup
from vreid_jax.losses import TERMS
from vreid_jax.runtime.mesh import batches_on_device, replicate
from vreid_jax.training import average, loss_scale
from vreid_jax.training.checkpoints import Checkpoints
from vreid_jax.training.loop import run_phase
from vreid_jax.training.metrics import DeferredMetrics, MetricsWriter
from vreid_jax.training.objective import memories
from vreid_jax.training.optimizers import make_optimizer
from vreid_jax.training.position import Position
from vreid_jax.training.signals import StopRequest
from vreid_jax.training.state import TrainState, split_params
from vreid_jax.training.step import make_train_step


@dataclasses.dataclass(frozen=True)
class Plan:
    """A phase that is ready to train: its settings, its length, its seed, its optimizer and its jitted step."""

    name: str
    phase: Phase
    total_steps: int
    seed: int
    optimizer: optax.GradientTransformation
    step: Callable


def plan_phases(setup: Setup) -> dict[str, Plan]:
    """Return the plans of all phases, in order.

    Raises:
      InputError: for a phase that the training split or the devices do not allow.
    """
    plans = {}
    for name, phase in setup.settings.phases.items():
        with error_context(name):
            check_unlabelled(phase, setup.train_source)
            total_steps = phase.length(data.num_batches_per_epoch(setup.train_source, phase))
            optimizer, seed = make_optimizer(phase, total_steps), phase_seed(setup.settings.seed, name)
            step = make_train_step(setup.network, phase, optimizer, setup.mesh, update=setup.system.update)
            plans[name] = Plan(name, phase, total_steps, seed, optimizer, step)
    return plans


def phase_seed(seed: int, phase: str) -> int:
    """Return the seed of a phase's batches and dropout, from the run's seed and the phase's name, not its position."""
    return int(np.random.SeedSequence([seed, *phase.encode()]).generate_state(1)[0] >> 1)  # 31 bits: JAX's int32


def check_unlabelled(phase: Phase, source: Any) -> None:
    """Raise `InputError` where the training split holds tracklets without an identity that the phase cannot use."""
    if not (source.pids < 0).any():
        return
    if phase.sampler == "identity" or not all(term.takes_unlabelled for term in phase.losses.values()):
        takers = ", ".join(name for name, term in TERMS.items() if term.takes_unlabelled)
        raise InputError(
            f"the training split holds tracklets of pid -1, which only the losses {takers}, without others, and the "
            "samplers shuffle and frames can use"
        )


def train_batches(setup: Setup, plan: Plan, count: int, start: int = 0) -> Iterator[dict[str, Any]]:
    """Iterate over the batches of a phase from `start` up to `count`, of this process's part."""
    return data.train_batches(
        setup.train_source,
        plan.phase,
        size=setup.settings.data.size,
        seed=plan.seed,
        num_batches=count,
        num_threads=setup.settings.data.num_threads,
        num_workers=setup.settings.data.num_workers,
        start=start,
        shard=(jax.process_index(), jax.process_count()),
        inputs=models.inputs_of(setup.network.module, plan.phase.apply),
        flow=setup.settings.data.flow,
    )


def phase_data(setup: Setup, plan: Plan, **more: Any) -> PhaseData:
    """Return what a system's `prepare` may read before the phase; `more` are `report` and `kept` of it."""
    return PhaseData(
        plan.phase,
        setup.settings,
        dataclasses.replace(setup.extraction, shuffle_frames=False),
        setup.train_source,
        functools.partial(train_batches, setup, plan),
        **more,
    )


def new_state(setup: Setup, plan: Plan, variables: dict[str, Any], extra: dict[str, Any] | None = None) -> TrainState:
    """Return the state with which a phase begins, from the network's variables and what earlier phases remember."""
    trainable, _ = split_params(variables["params"], plan.phase.train)
    apply = functools.partial(setup.network.module.apply, train=False, **plan.phase.apply)
    feature = jax.eval_shape(apply, variables, setup.clips_of(plan.phase.clip.num_frames, plan.phase.apply))["feature"]
    unlabelled = bool((setup.train_source.pids < 0).any())
    extra = memories(plan.phase.losses, feature.shape[-1], setup.num_identities, unlabelled, extra or {})
    batch_stats = variables.get("batch_stats", {})
    if getattr(setup.network.module, "dtype", "") == "float16":
        extra[loss_scale.NAME] = loss_scale.new_loss_scale()
    if plan.phase.optimizer.ema:
        extra[average.NAME] = average.new_average(trainable, batch_stats)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=batch_stats,
        opt_state=plan.optimizer.init(trainable),
        extra=extra,
        network=setup.network,
    )


def begin_phase(
    setup: Setup, plan: Plan, state: TrainState | None, position: Position | None, writer: MetricsWriter | None = None
) -> tuple[TrainState, Position]:
    """Return the state and the position before the first step of a phase, from those after the phase before, if any.

    What the system reports goes to `writer`.
    """
    steps_before = position.step if position else 0

    def report(values: dict[str, float]) -> None:
        if writer:
            writer.write(steps_before, {"phase": plan.name, **values})

    inherited = position.inherited if position else ()
    if state is None:
        variables = setup.new_variables()
        if setup.settings.init_from:
            variables, inherited = setup.inherited_variables(variables)
        state = new_state(setup, plan, variables)
    others = {name: value for name, value in state.extra.items() if name != average.NAME}
    state = state.replace(
        **state.variables, extra=others
    )  # what the phase before has averaged is where this one starts
    if setup.system.prepare:
        inputs = phase_data(setup, plan, report=report, kept=tuple(inherited))
        state = keep(inherited, state, setup.system.prepare(plan.name, state, inputs))
    state = replicate(new_state(setup, plan, state.variables, state.extra), setup.mesh)
    position = Position(
        phase=plan.name,
        phase_step=0,
        steps_before=steps_before,
        seconds=position.seconds if position else 0.0,
        inherited=tuple(inherited),
        training_set=setup.train_source.digest(),
    )
    return state, position


def restore(setup: Setup, plans: dict[str, Plan], checkpoints: Checkpoints) -> tuple[TrainState, Position] | None:
    """Read the newest checkpoint that is not damaged, if there is one; nothing of the run changes.

    Raises:
      InputError: where training cannot go on from it.
    """

    def read(step: int) -> tuple[TrainState, Position]:
        position = checkpoints.position(step)
        plan = _plan_from(setup, plans, position)
        like = jax.eval_shape(functools.partial(new_state, setup, plan), setup.abstract_variables)
        stored = checkpoints.extra(step)
        own = dict(like.extra)
        new_scale = own.pop(loss_scale.NAME, None) if loss_scale.NAME not in stored else None  # begun in another dtype
        like = like.replace(extra={**stored, **own})
        sharding = NamedSharding(setup.mesh, PartitionSpec())
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like)
        state = checkpoints.restore(step, like)
        if new_scale:
            scale = replicate(loss_scale.new_loss_scale(), setup.mesh)
            state = state.replace(extra={**state.extra, loss_scale.NAME: scale})
        return state, position

    return checkpoints.newest(read)


def _plan_from(setup: Setup, plans: dict[str, Plan], position: Position) -> Plan:
    """Return the plan of the phase that a checkpoint is of; `InputError` where training cannot go on from there."""
    if position.phase not in plans:
        raise InputError(f"the checkpoint is of phase {position.phase!r}, which phase_order does not name")
    plan, order = plans[position.phase], list(plans)
    done = sum(plans[name].total_steps for name in order[: order.index(position.phase)])
    if position.steps_before != done:
        raise InputError(
            f"the phases before {position.phase} were finished with {position.steps_before} steps and now have {done}: "
            "only the length of the phase that is trained, or of a later one, can change"
        )
    if position.phase_step > plan.total_steps:
        raise InputError(
            f"phase {position.phase} has done {position.phase_step} steps already, and is to have {plan.total_steps}: it "
            "can only become longer"
        )
    if position.training_set not in ("", setup.train_source.digest()):
        raise InputError(
            f"the training split of {setup.settings.data.path or setup.settings.data.name} is not the one that this run "
            "began with: give it back its tracklets, or start a new workdir with --config.init_from=THIS_ONE"
        )
    return plan


def train(
    setup: Setup,
    plans: dict[str, Plan],
    checkpoints: Checkpoints,
    reached: tuple[TrainState, Position] | None,
    stop: StopRequest,
) -> tuple[TrainState, Position]:
    """Train what is left of the phases, from what `restore` has given or from nothing.

    Raises:
      NonFiniteLoss, Interrupted: as `run_phase`.
    """
    settings = setup.settings
    state, position = reached or (None, None)
    writer = MetricsWriter(setup.workdir, position, settings.logging.tensorboard)
    order = list(plans)
    try:
        for name in order[order.index(position.phase) if position else 0 :]:
            plan = plans[name]
            if state is None or position is None or position.phase != name:
                state, position = begin_phase(setup, plan, state, position, writer)
            if position.phase_step < plan.total_steps:
                state, position = _train_phase(setup, plan, state, position, checkpoints, writer, stop)
        assert state is not None  # a run has a phase
        assert position is not None
        return state, position
    finally:
        writer.close()


def _train_phase(
    setup: Setup,
    plan: Plan,
    state: TrainState,
    position: Position,
    checkpoints: Checkpoints,
    writer: MetricsWriter,
    stop: StopRequest,
) -> tuple[TrainState, Position]:
    """Train one phase from `position` to its end."""
    logging = setup.settings.logging
    checkpoints.check_room(state)
    batches = train_batches(setup, plan, plan.total_steps, position.phase_step)
    with DeferredMetrics(
        writer, position, plan.total_steps, every_steps=logging.every_steps, progress=logging.progress
    ) as metrics:
        return run_phase(
            state,
            position,
            functools.partial(plan.step, plan.seed),
            batches_on_device(batches, setup.mesh),
            metrics,
            checkpoints,
            total_steps=plan.total_steps,
            log_every=logging.every_steps,
            save_every=setup.settings.checkpoint.every_steps,
            save_minutes=setup.settings.checkpoint.every_minutes,
            stop=stop,
        )
