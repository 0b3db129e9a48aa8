"""The training steps and the evaluation programs of a configuration, with the shapes of what they take; needs no data."""

from __future__ import annotations

import dataclasses
import functools
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from vreid_jax import models
from vreid_jax.config.run import parse_run
from vreid_jax.experiment.phase_data import PhaseData
from vreid_jax.runtime.dtype import compute_dtype
from vreid_jax.runtime.mesh import make_mesh
from vreid_jax.training import average, loss_scale
from vreid_jax.training.network import Network, normalisation
from vreid_jax.training.objective import memories
from vreid_jax.training.optimizers import make_optimizer
from vreid_jax.training.state import TrainState, split_params
from vreid_jax.training.step import make_train_step

IDENTITIES, TRACKLETS = 625, 8298
"""Identities and tracklets of the training split of MARS."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A jitted function and the shapes of its arguments.

    Attributes:
      name: as `m3d_temporal_train`.
      function: what is jitted; a step takes and returns the state first.
      arguments: their shapes, placed on the device.
      clips: clips in a batch.
      frames: frames in a clip.
      identities: what the labels of a batch are below.
    """

    name: str
    function: Any
    arguments: tuple
    clips: int
    frames: int
    identities: int = IDENTITIES

    def lower(self):
        """Trace and lower the function for its device."""
        return self.function.lower(*self.arguments)


def of_configuration(config, dtype: str, identities: int):
    """Return the settings of a configuration, its registry entry and its network; an empty dtype is the configured one."""
    settings = parse_run(config)
    entry = models.entry(settings.model)
    own = dict(settings.model_fields)
    if "dtype" in entry.fields:
        own["dtype"] = dtype or compute_dtype(settings.dtype)
    module = models.create(settings.model, num_classes=identities, **own)
    return settings, entry, Network(module, **normalisation(settings.data, entry))


def _abstract_variables(settings, network: Network) -> dict:
    used = max(phase.clip.num_frames for phase in settings.phases.values())
    longest = models.frames_of(network.module, used)
    clip = jax.ShapeDtypeStruct((1, longest, *settings.data.size, models.channels_of(network.module)), jnp.float32)
    return dict(jax.eval_shape(network.module.init, jax.random.key(0), clip))


def _placed(tree, sharding: NamedSharding):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def training_step(
    config, phase_name: str, device, *, dtype: str = "", identities: int = IDENTITIES, tracklets: int = TRACKLETS
) -> Program:
    """Return the step of a phase, compiled for `device` when it is lowered."""
    settings, entry, network = of_configuration(config, dtype, identities)
    phase, module = settings.phases[phase_name], network.module
    variables = _abstract_variables(settings, network)
    optimizer = make_optimizer(phase, 1000)

    def new_state(variables):
        channels = models.channels_of(module, phase.apply)
        clip = jnp.zeros((1, phase.clip.num_frames, *settings.data.size, channels), jnp.float32)
        apply = functools.partial(module.apply, train=False, **phase.apply)
        feature = jax.eval_shape(apply, variables, clip)["feature"]
        trainable = split_params(variables["params"], phase.train)[0]
        statistics = variables.get("batch_stats", {})
        extra = memories(phase.losses, feature.shape[-1], identities, False, {})
        if getattr(module, "dtype", "") == "float16":
            extra[loss_scale.NAME] = loss_scale.new_loss_scale()
        if phase.optimizer.ema:
            extra[average.NAME] = average.new_average(trainable, statistics)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=variables["params"],
            batch_stats=statistics,
            opt_state=optimizer.init(trainable),
            extra=extra,
        )

    state = jax.eval_shape(new_state, variables)
    source: Any = SimpleNamespace(num_frames=np.zeros(tracklets))
    nothing: Any = None
    batch, cache = PhaseData(phase, settings, nothing, source, nothing).abstract(module, variables)
    state = state.replace(extra={**state.extra, **cache})
    mesh = make_mesh([device])
    step = make_train_step(network, phase, optimizer, mesh, update=entry.update)
    replicated, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    seed = jax.ShapeDtypeStruct((), jnp.int32)
    arguments = _placed(seed, replicated), _placed(state, replicated), _placed(batch, split)
    frames = 1 if phase.cache_features else phase.clip.num_frames
    return Program(f"{config.system}_{phase_name}_train", step, arguments, phase.batch_size, frames, identities)


def evaluation_program(config, stream_name: str, device, *, dtype: str = "", batch_frames: int = 0) -> Program:
    """Return the program that embeds the clips of an evaluation stream."""
    settings, _, network = of_configuration(config, dtype, IDENTITIES)
    stream = settings.evaluation.streams[stream_name]
    apply, length = dict(stream.apply), stream.clip.length
    mesh = make_mesh([device])
    replicated, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))

    @jax.jit
    def embed(variables, frames):
        return network(variables, frames, **apply)["feature"].astype(jnp.float32)

    clips = max((batch_frames or settings.evaluation.batch_frames) // length, 1)
    channels = models.channels_of(network.module, apply)
    shape = jax.ShapeDtypeStruct((clips, length, *settings.data.size, channels), jnp.uint8)
    variables = _abstract_variables(settings, network)
    arguments = _placed(variables, replicated), _placed(shape, split)
    return Program(f"{config.system}_{stream_name}_eval", embed, arguments, clips, length)


def filled(program: Program, seed: int = 0) -> tuple:
    """Return arguments on the device: parameters drawn small, moments zero, frames of noise, labels in groups of four."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(2**20, np.float32)  # repeated: drawing all would take longer than the step

    def fill(path, leaf):
        name = jax.tree_util.keystr(path)
        if leaf.dtype == jnp.uint8:
            value = rng.integers(0, 256, leaf.shape, np.uint8)
        elif "cached" in name:
            value = rng.integers(0, TRACKLETS, leaf.shape)
        elif any(key in name for key in ("label", "pid")):
            value = np.arange(leaf.size).reshape(leaf.shape) // 4 % program.identities
        elif jnp.issubdtype(leaf.dtype, jnp.integer) or "opt_state" in name:
            value = np.zeros(leaf.shape)
        elif any(key in name for key in ("scale", "var")):
            value = np.ones(leaf.shape)
        elif leaf.ndim > 1:
            value = np.resize(noise, leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))
        else:
            value = np.zeros(leaf.shape)
        return jax.device_put(np.asarray(value).astype(leaf.dtype), leaf.sharding)

    return jax.tree_util.tree_map_with_path(fill, program.arguments)
