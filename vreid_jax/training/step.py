"""The jitted training step: gradient, optimizer, what losses remember, the system's own update; the same for all."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vreid_jax.errors import InputError
from vreid_jax.training.network import normalise
from vreid_jax.training.objective import MEMORIES, objective, remembered
from vreid_jax.training.state import TrainState, join_params, split_params

LITTLE_MEMORY = {"xla_cpu_enable_concurrency_optimized_scheduler": False}
"""XLA's CPU backend would order a step so that more of it can run at once: a tenth more memory, and no faster."""


def _check_identities(phase) -> None:
    """Raise `InputError` for microbatches that part an identity, or that leave triplets without another one."""
    if phase.sampler != "identity" or phase.accumulation_steps == 1:
        return
    clips = phase.batch_size // phase.identities_per_batch  # of an identity
    identities, rest = divmod(phase.batch_size // phase.accumulation_steps, clips)
    mined = any(phase.losses[name].weight for name in ("triplet", "clip_triplet"))
    if rest or identities < 1 + mined:
        raise InputError(
            f"accumulation_steps = {phase.accumulation_steps} leaves {identities + rest / clips:g} of "
            f"{phase.identities_per_batch} identities to a microbatch; it takes whole ones"
            + (", two at least for triplets" if mined else "")
        )


def make_train_step(
    module: nn.Module,
    phase,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    seed: int,
    update: Callable | None = None,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """Build `step(state, batch) -> (state, metrics)`; the state is donated.

    Dropout is a function of (`seed`, step). With `accumulation_steps` A, the batch is cut into A microbatches of
    whole identities in order; batch norm and hard mining see one microbatch at a time, gradients are averaged.

    Raises:
      InputError: when no parameter matches the phase's patterns, or the batch does not divide.
    """
    key = jax.random.key(seed)
    microbatches = phase.accumulation_steps
    if microbatches < 1:
        raise InputError(f"accumulation_steps is {microbatches}; it must be at least 1")
    _check_identities(phase)
    per_device, rest = divmod(phase.batch_size, microbatches * mesh.size)
    if rest or not per_device:
        raise InputError(
            f"batch_size = {phase.batch_size} does not divide into {microbatches} microbatches on {mesh.size} devices"
        )
    sharded = NamedSharding(mesh, PartitionSpec(None, "data"))
    replicated = NamedSharding(mesh, PartitionSpec())
    apply = phase.apply.to_dict()
    follows = update or any(phase.losses[name].weight for name in MEMORIES if name in phase.losses)

    def whole(x):
        return jax.lax.with_sharding_constraint(x, replicated)

    def loss(trainable, frozen, batch_stats, extra, batch, key):
        cache = {name: extra[name] for name in ("cache",) if name in extra}
        outputs, changed = module.apply(
            {"params": join_params(trainable, frozen), "batch_stats": batch_stats, **cache},
            batch["cached"] if "cached" in batch else normalise(batch["frames"], mean, std),
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
            **apply,
        )
        total, terms = objective(outputs, batch, phase.losses, extra, jax.random.fold_in(key, 1))
        if "logits" in outputs:
            terms["accuracy"] = (outputs["logits"].argmax(-1) == batch["label"]).mean(dtype=jnp.float32)
        return total, ({"loss": total, **terms}, changed.get("batch_stats", {}), outputs)

    def step(state: TrainState, batch):
        trainable, frozen = split_params(state.params, phase.train)
        if not trainable:
            raise InputError(f"no parameter matches the phase's train = {tuple(phase.train)}")
        keys = jax.random.split(jax.random.fold_in(key, state.step), microbatches)
        gradient = jax.grad(loss, has_aux=True)

        def micro(carry, part):
            total, batch_stats = carry
            batch, key = part
            grads, (metrics, batch_stats, outputs) = gradient(trainable, frozen, batch_stats, state.extra, batch, key)
            kept = {"feature": outputs["feature"]} if follows else {}
            return (jax.tree.map(jnp.add, total, grads), batch_stats), (metrics, kept)

        if microbatches == 1:
            grads, (metrics, batch_stats, outputs) = gradient(
                trainable, frozen, state.batch_stats, state.extra, batch, keys[0]
            )
        else:
            parts = jax.tree.map(lambda x: x.reshape(microbatches, -1, *x.shape[1:]), batch)
            parts = jax.lax.with_sharding_constraint(parts, sharded)
            start = (jax.tree.map(jnp.zeros_like, trainable), state.batch_stats)
            (grads, batch_stats), (metrics, outputs) = jax.lax.scan(micro, start, (parts, keys))
            grads = jax.tree.map(lambda g: g / microbatches, grads)
            metrics = jax.tree.map(lambda m: m.mean(), metrics)
            outputs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)
        changes, opt_state = optimizer.update(grads, state.opt_state, trainable)
        # Written out: the name of optax for it has changed between the versions supported.
        metrics["gradient_norm"] = jnp.sqrt(sum(jnp.vdot(g, g) for g in grads.values()))
        state = state.replace(
            step=state.step + 1,
            params=join_params(optax.apply_updates(trainable, changes), frozen),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        if follows:
            # What follows the rows one by one is to have them all on every device.
            outputs, batch = (
                {k: whole(v) if k in ("feature", "label") else v for k, v in d.items()} for d in (outputs, batch)
            )
            state = state.replace(extra=remembered(state.extra, outputs, batch))
            state = update(state, outputs, batch) if update else state
        return state, metrics

    options = LITTLE_MEMORY if mesh.devices.flat[0].platform == "cpu" else None
    return jax.jit(step, donate_argnums=0, out_shardings=(replicated, replicated), compiler_options=options)
