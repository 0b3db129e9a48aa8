"""The jitted step of an adaptation, and batch statistics measured anew."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from vreid_jax.errors import InputError
from vreid_jax.losses import contrastive_of_pairs
from vreid_jax.training import average
from vreid_jax.training.network import Network, normalise
from vreid_jax.training.state import join_params, split_params

Streams = Mapping[str, Mapping[str, Any]]
"""Keyword arguments of the module for each stream of a model."""


LEAST_WEIGHT = 1e-4
"""Of a batch in running statistics that a network uses; the weight in the others is 0 but for rounding."""


class AdaptationState(struct.PyTreeNode):
    """What a step reads and writes: parameters flat, as `training.state.split_params` makes them."""

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The network's variables that stand for the state: the average of its weights."""
        return {"params": self.average["params"], "batch_stats": self.average["batch_stats"]}


def new_state(variables: Mapping[str, Any], optimizer: optax.GradientTransformation) -> AdaptationState:
    """Return the state before the first step; its arrays are copies."""
    params, batch_stats = (jax.tree.map(jnp.array, dict(variables).get(k, {})) for k in ("params", "batch_stats"))
    flat, _ = split_params(params, (".*",))
    return AdaptationState(
        jnp.int32(0), flat, batch_stats, optimizer.init(flat), average.new_average(flat, batch_stats)
    )


def make_step(
    network: Network,
    streams: Streams,
    optimizer: optax.GradientTransformation,
    *,
    temperature: float | int,
    synthetic_weight: float | int,
    decay: float | int,
) -> Callable[[Any, AdaptationState, Any, Any], tuple[AdaptationState, Any]]:
    """Build `step(seed, state, real, synthetic) -> (state, losses)`; the state is donated.

    Dropout is a function of (`seed`, step), and one compiled program serves all seeds, which are uint32.
    `real` and `synthetic` hold for every stream a batch: `frames` uint8 [B, T, H, W, C], `positive` and `negative`
    [B, B]. Each is a forward pass of its own, so that a batch norm never mixes drawn people with real ones, and only
    the real ones move its running statistics. An empty `synthetic` is left out. `losses` are `real` and `synthetic`.
    """

    def one(params, batch_stats, name, batch, key):
        outputs, changed = network.module.apply(
            {"params": join_params(params), "batch_stats": batch_stats},
            normalise(batch["frames"], network.mean, network.std),
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
            **streams[name],
        )
        outputs = cast(dict[str, Any], outputs)
        if "feature" not in outputs:
            raise InputError("this model has no feature to compare people by, so it cannot be adapted")
        loss = contrastive_of_pairs(outputs["feature"], batch["positive"], batch["negative"], temperature)
        return loss, changed.get("batch_stats", batch_stats)

    def loss(params, batch_stats, real, synthetic, key):
        found = {"real": jnp.float32(0), "synthetic": jnp.float32(0)}
        for number, name in enumerate(streams):
            value, batch_stats = one(params, batch_stats, name, real[name], jax.random.fold_in(key, 2 * number))
            found["real"] += value
            if name in synthetic:
                other = jax.random.fold_in(key, 2 * number + 1)
                found["synthetic"] += one(params, batch_stats, name, synthetic[name], other)[0]
        return found["real"] + synthetic_weight * found["synthetic"], (found, batch_stats)

    def step(seed, state: AdaptationState, real, synthetic):
        drawn = jax.random.fold_in(jax.random.key(seed), state.step)
        grads, (found, batch_stats) = jax.grad(loss, has_aux=True)(
            state.params, state.batch_stats, real, synthetic, drawn
        )
        changes, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, changes)
        mean = average.after_step(state.average, cast(Any, params), batch_stats, decay, state.step)
        return AdaptationState(state.step + 1, params, batch_stats, opt_state, mean), found

    return jax.jit(step, donate_argnums=1)


def make_statistics(network: Network, streams: Streams) -> Callable[[Mapping[str, Any], Sequence[Any]], Any]:
    """Build `measure(variables, batches) -> batch_stats`: the mean over real batches of each batch's own statistics.

    A batch norm replaces a running value r by m·r + (1 - m)·b, of which only the module knows m. From r = 0 and r = 1
    both follow, whatever m is. Statistics that no stream uses stay as they are. A batch, of which there is at least one,
    holds for every stream frames uint8 [B, T, H, W, C].
    """

    @jax.jit
    def seen(params, batch_stats, batch):
        for name, apply in streams.items():
            _, changed = network.module.apply(
                {"params": params, "batch_stats": batch_stats},
                normalise(batch[name], network.mean, network.std),
                train=True,
                rngs={"dropout": jax.random.key(0)},
                mutable=["batch_stats"],
                **apply,
            )
            batch_stats = {**batch_stats, **cast(dict[str, Any], changed.get("batch_stats", {}))}
        return batch_stats

    def measured(old, one, none, *parts):
        weight = 1 - np.median(one - none)  # 1 - m, the same for all channels
        return np.float32(np.mean(parts, 0) / weight) if weight > LEAST_WEIGHT else old

    def measure(variables, batches):
        before = jax.device_get(dict(variables).get("batch_stats", {}))
        if not jax.tree.leaves(before):
            return before
        zero, ones = (jax.tree.map(lambda x, start=start: np.full_like(x, start), before) for start in (0, 1))
        found = [jax.device_get(seen(variables["params"], zero, batch)) for batch in batches]
        one = jax.device_get(seen(variables["params"], ones, batches[-1]))
        return jax.tree.map(measured, before, one, found[-1], *found)

    return measure
