"""The jitted training step: gradient, optimizer, what losses remember, the system's own update; shared by all systems."""

import functools
from collections.abc import Callable
from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vreid_jax.config.phases import Phase
from vreid_jax.errors import InputError
from vreid_jax.training import average
from vreid_jax.training.loss_scale import kept_if_finite, marked_if_stuck, scaled, unscaled
from vreid_jax.training.network import Network, normalise
from vreid_jax.training.objective import objective, remembered
from vreid_jax.training.state import TrainState, join_params, split_params

LITTLE_MEMORY = {"xla_cpu_enable_concurrency_optimized_scheduler": False}
"""XLA's CPU backend would order a step so that more of it can run at once: a tenth more memory, and no faster."""


def make_train_step(
    network: Network,
    phase: Phase,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    update: Callable | None = None,
) -> Callable[[int, TrainState, dict], tuple[TrainState, dict]]:
    """Build `step(seed, state, batch) -> (state, metrics)`; the state is donated.

    Dropout and losses that draw are functions of (`seed`, step), and one compiled program serves all seeds. With
    `accumulation_steps` A, the batch is cut into A microbatches of whole identities in order; batch norm and hard mining
    see one microbatch at a time, gradients are averaged.

    Args:
      network: the module with the normalisation of its frames.
      phase: what is minimised, over which parameters.
      optimizer: over the parameters that train, flat.
      mesh: with an axis `data`, over which batches are laid.
      update: the system's own, `update(state, outputs, batch) -> state`, after the optimizer.

    Raises:
      InputError: when no parameter matches the phase's patterns, or the batch does not divide.
      AssertionError: at the first step, when `update` changes the shape or the type of an array of the state.
    """
    microbatches = phase.accumulation_steps
    per_device, rest = divmod(phase.batch_size, microbatches * mesh.size)
    if rest or not per_device:
        raise InputError(
            f"batch_size = {phase.batch_size} does not divide into {microbatches} microbatches on {mesh.size} devices"
        )
    replicated = NamedSharding(mesh, PartitionSpec())
    gradient = jax.grad(functools.partial(_loss, network, phase), has_aux=True)
    follows = bool(update) or any(term.remembers for term in phase.losses.values())
    if microbatches > 1:
        sharding = NamedSharding(mesh, PartitionSpec(None, "data"))
        gradient = _accumulated(gradient, microbatches, sharding, ("feature",) if follows else ())

    def step(seed, state: TrainState, batch):
        trainable, frozen = split_params(state.params, phase.train)
        if not trainable:
            raise InputError(f"no parameter matches the phase's train = {phase.train}")
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), state.step), microbatches)
        grads, (metrics, batch_stats, outputs) = gradient(
            trainable, frozen, state.batch_stats, state.extra, batch, keys if microbatches > 1 else keys[0]
        )
        grads, before = unscaled(grads, state.extra), state
        state, metrics["gradient_norm"] = _descend(state, phase, optimizer, grads, trainable, frozen, batch_stats)
        if follows:
            state = _follow(state, phase, update, outputs, batch, replicated)
        metrics["loss"] = marked_if_stuck(metrics["loss"], grads, before.extra)
        # A system's update that changes a shape or a type would have every step compiled anew, and no checkpoint fit.
        chex.assert_trees_all_equal_shapes_and_dtypes(state, before)
        return kept_if_finite(grads, state, before), metrics

    options = LITTLE_MEMORY if mesh.devices.flat[0].platform == "cpu" else None
    return jax.jit(step, donate_argnums=1, out_shardings=(replicated, replicated), compiler_options=options)


def _loss(network: Network, phase: Phase, trainable, frozen, batch_stats, extra, batch, key):
    """Return the loss of a (micro)batch, and with it the metrics, the new batch statistics and the network's outputs."""
    cache = {"cache": extra["cache"]} if "cache" in extra else {}
    outputs, changed = network.module.apply(
        {"params": join_params(trainable, frozen), "batch_stats": batch_stats, **cache},
        batch["cached"] if "cached" in batch else normalise(batch["frames"], network.mean, network.std),
        train=True,
        rngs={"dropout": key},
        mutable=["batch_stats"],
        **phase.apply,
    )
    total, terms = objective(outputs, batch, phase.losses, extra, jax.random.fold_in(key, 1))
    if "logits" in outputs:
        terms["accuracy"] = (outputs["logits"].argmax(-1) == batch["label"]).mean(dtype=jnp.float32)
    return scaled(total, extra), ({"loss": total, **terms}, changed.get("batch_stats", {}), outputs)


def _accumulated(gradient: Callable, microbatches: int, sharding: NamedSharding, kept: tuple[str, ...]) -> Callable:
    """Return the mean of `gradient` over the microbatches of a batch, with a key for each, and the outputs in `kept`."""

    def accumulate(trainable, frozen, batch_stats, extra, batch, keys):
        def add(carry, part):
            total, batch_stats = carry
            batch, key = part
            grads, (metrics, batch_stats, outputs) = gradient(trainable, frozen, batch_stats, extra, batch, key)
            return (jax.tree.map(jnp.add, total, grads), batch_stats), (metrics, {name: outputs[name] for name in kept})

        parts = jax.tree.map(lambda x: x.reshape(microbatches, -1, *x.shape[1:]), batch)
        parts = jax.lax.with_sharding_constraint(parts, sharding)
        start = (jax.tree.map(jnp.zeros_like, trainable), batch_stats)
        (grads, batch_stats), (metrics, outputs) = jax.lax.scan(add, start, (parts, keys))
        grads = jax.tree.map(lambda g: g / microbatches, grads)
        metrics = jax.tree.map(lambda m: m.mean(), metrics)
        outputs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)
        return grads, (metrics, batch_stats, outputs)

    return accumulate


def _descend(
    state: TrainState, phase: Phase, optimizer: optax.GradientTransformation, grads, trainable, frozen, batch_stats
) -> tuple[TrainState, Any]:
    """Return the state after the optimizer's step, with the average of the weights, and the norm of the gradient."""
    changes, opt_state = optimizer.update(grads, state.opt_state, trainable)
    updated = cast(dict[str, Any], optax.apply_updates(trainable, changes))
    extra = state.extra
    if decay := phase.optimizer.ema:
        old = extra[average.NAME]
        extra = {**extra, average.NAME: average.after_step(old, updated, batch_stats, decay, state.step)}
    # Written out: the name of optax for it has changed between the versions supported.
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in grads.values()))
    state = state.replace(
        step=state.step + 1,
        params=join_params(updated, frozen),
        batch_stats=batch_stats,
        opt_state=opt_state,
        extra=extra,
    )
    return state, norm


def _follow(state: TrainState, phase: Phase, update: Callable | None, outputs, batch, replicated) -> TrainState:
    """Return the state after the memories of losses and the system's own update have seen the step's features.

    A memory updates its rows sequentially, so features and labels are replicated first.
    """

    def replicate(values):
        return {
            name: jax.lax.with_sharding_constraint(value, replicated) if name in ("feature", "label") else value
            for name, value in values.items()
        }

    outputs, batch = replicate(outputs), replicate(batch)
    state = state.replace(extra=remembered(state.extra, phase.losses, outputs, batch))
    return update(state, outputs, batch) if update else state
