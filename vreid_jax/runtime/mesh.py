"""The mesh of a run's devices, and arrays placed on it."""

import collections
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")


def make_mesh(devices=None) -> Mesh:
    """Return the mesh of a run: every device on one axis, `data`."""
    devices = jax.devices() if devices is None else devices
    # Explicit axes, the default of newer versions, would make `x @ x.T` of a sharded batch an error.
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def put_batch(batch, mesh: Mesh):
    """Shard this process's part of a batch over the mesh, axis 0 over `data`."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def batches_on_device(batches: Iterable[dict[str, Any]], mesh: Mesh, ahead: int = 2) -> Iterator[dict[str, Any]]:
    """Iterate over batches placed by `put_batch`, of which `ahead` are on their way while one is used."""
    waiting: collections.deque[dict[str, Any]] = collections.deque()
    for batch in batches:
        waiting.append(put_batch(batch, mesh))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Copy a tree of arrays that every process holds in full to every device of the mesh."""
    sharding = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), jax.device_get(tree))


def abstract_on(tree: Tree, mesh: Mesh, spec: PartitionSpec) -> Tree:
    """Return the shapes and types of a tree of arrays, or of their shapes, laid over the mesh as `spec` says."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def ensure_replicated(tree: Tree, mesh: Mesh) -> Tree:
    """Return the tree as `replicate` does, without a copy of what is on every device already."""
    sharding = NamedSharding(mesh, PartitionSpec())
    leaves = jax.tree.leaves(tree)
    there = all(isinstance(x, jax.Array) and x.sharding.is_equivalent_to(sharding, x.ndim) for x in leaves)
    return tree if there else replicate(tree, mesh)


def batch_mesh(sizes: Iterable[int]) -> Mesh:
    """Return the mesh of as many devices as batches of all these sizes divide over, as many of each process.

    All devices, where a batch does not even divide among the processes.
    """
    processes, local = jax.process_count(), jax.local_device_count()
    batches = tuple(sizes)
    for count in range(local, 0, -1):
        if all(size % (count * processes) == 0 for size in batches):
            firsts = [[d for d in jax.devices() if d.process_index == process][:count] for process in range(processes)]
            return make_mesh([device for devices in firsts for device in devices])
    return make_mesh()
