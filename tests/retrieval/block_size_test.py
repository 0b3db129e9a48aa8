import importlib
import types

import jax
import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.retrieval import block_size
from vreid_jax.retrieval.block_size import block_bytes, rows_bytes
from vreid_jax.runtime.mesh import make_mesh

MIB = 2**20


def test_on_a_cpu_blocks_fit_its_cache_whatever_the_mesh():
    assert block_bytes() == block_bytes(make_mesh(jax.devices()[:2])) == 64 * MIB
    assert rows_bytes(None, 512 * MIB) == MIB


@pytest.mark.parametrize(
    ("gigabytes", "expected"),
    [(63.5, 1024), (30.0, 512), (11.7, 256), (15.8, 256), (1.0, 64), (None, 256), (500.0, 1024)],
)
def test_on_an_accelerator_a_block_is_a_power_of_two_within_a_part_of_its_memory(gigabytes, expected, monkeypatch):
    memory = gigabytes and {"bytes_limit": int(gigabytes * 1e9)}
    device = types.SimpleNamespace(platform="gpu", memory_stats=lambda: memory)
    monkeypatch.setattr(block_size, "_device", lambda mesh: device)
    assert block_bytes() == expected * MIB
    assert rows_bytes(None, 123) == 123


def test_functions_without_max_bytes_ask_there(monkeypatch):
    asked = []
    for name in ("distances", "neighbours", "clip_pairs"):
        module = importlib.import_module(f"vreid_jax.retrieval.{name}")
        monkeypatch.setattr(
            module, "block_bytes", lambda mesh=None, name=name: asked.append(name) or block_size.CPU_BYTES
        )
    rows = np.eye(4, 3, dtype=np.float32)
    retrieval.pairwise_distance(rows, rows)
    retrieval.top_k(rows, rows, 2)
    retrieval.top_t_distance(rows[:, None], rows[:, None] + 1, 50)
    assert asked == ["distances", "neighbours", "clip_pairs"]
