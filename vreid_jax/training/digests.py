"""Digests of a train state: what a checkpoint holds is told from what was saved in it."""

import json
import os
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the arrays of a tree, or their shapes, by name, e.g. `opt_state/0/mu/head/kernel`.

    A state and its stored form, in which classes have become dictionaries, have the same names.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {"/".join(_key(part) for part in path): leaf for path, leaf in leaves}


def _key(part: Any) -> str:
    return str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part))))


def of_state(state: Any) -> dict[str, str]:
    """Return the digest of every array of a state by name: kind and CRC-32 of its values, `float32[2, 3] 1b3d5f7a`.

    The values alone count, not on how many devices they lie. In a run of several processes all of them must call it
    where an array is divided among them. CRC-32 finds every damage of up to 32 bits in a row, and misses one in 2^32 of
    the others; it is the fastest digest of Python's own.
    """
    arrays = {name: _here(leaf) for name, leaf in named_leaves(state).items()}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        return dict(zip(arrays, threads.map(_of_array, arrays.values()), strict=True))


def kind(leaf: Any) -> str:
    """Return the part of an array's digest that its dtype and shape give, `float32[2, 3]`."""
    return f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def of_json(value: Mapping[str, Any]) -> str:
    """Return the digest of what a JSON file holds."""
    return f"{zlib.crc32(json.dumps(value, sort_keys=True).encode()):08x}"


def _here(leaf: Any) -> Any:
    """Return the whole of an array where this process can read it."""
    if not isinstance(leaf, jax.Array):
        return np.asarray(leaf)
    if leaf.is_fully_replicated:
        return leaf.addressable_data(0)  # an array of its own, so that the leaf does not keep the copy on the host
    return leaf if leaf.is_fully_addressable else multihost_utils.process_allgather(leaf, tiled=True)


def _of_array(array: Any) -> str:
    values = np.asarray(array, order="C")
    return f"{kind(values)} {zlib.crc32(values.reshape(-1).view(np.uint8)):08x}"
