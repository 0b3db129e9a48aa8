"""How much memory blocks of distances take, by the kind of device that computes them."""

# The types of JAX's devices are unknown to the checker.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from typing import Any

import jax
from jax.sharding import Mesh

CPU_BYTES = 64 * 2**20
"""Larger blocks do not fit a processor's cache: with 512 MiB the same work takes half as much time again."""
CPU_ROWS_BYTES = 2**20
"""Rows of a block that are compared at once: what a core of a CPU keeps in its cache."""
DEVICE_SHARE = 32
"""On an accelerator a block takes at most this part of the memory that JAX has there; six of them are held at most."""
DEVICE_BYTES = 256 * 2**20
"""Where a device does not say how much memory that is."""
LARGEST_BYTES = 2**30
"""The host holds a block, too, and a matrix product of this size keeps any device busy."""


def block_bytes(mesh: Mesh | None = None) -> int:
    """Return the memory for a block, in bytes: `CPU_BYTES` on a CPU, else a part of the device's own memory.

    It is a power of two, so that processes on devices of one kind agree on it, whatever little else each device holds.

    Args:
      mesh: the devices that compute; without one, it is JAX's default device.
    """
    device = _device(mesh)
    if device.platform == "cpu":
        return CPU_BYTES
    stated: dict[str, int] = device.memory_stats() or {}
    memory = stated.get("bytes_limit")
    if not memory:
        return DEVICE_BYTES
    return max(CPU_BYTES, min(1 << ((memory // DEVICE_SHARE).bit_length() - 1), LARGEST_BYTES))


def rows_bytes(mesh: Mesh | None, max_bytes: int) -> int:
    """Return the memory for rows of a block that are compared at once: `CPU_ROWS_BYTES` on a CPU, else a whole block."""
    return CPU_ROWS_BYTES if _device(mesh).platform == "cpu" else max_bytes


def _device(mesh: Mesh | None) -> Any:
    if mesh is not None:
        # Of this process, where a mesh spans several: others cannot be asked for their memory.
        local = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
        return local[0] if local else mesh.devices.flat[0]
    return jax.local_devices()[0]
