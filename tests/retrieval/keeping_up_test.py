"""Blocks that several devices have not done yet are few, however many there are: with many, virtual devices of a CPU hang."""

import jax
import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.retrieval import device_ranking, neighbours, streamed
from vreid_jax.retrieval.streamed import StreamedNearest
from vreid_jax.runtime.mesh import make_mesh

BLOCKS = 12
GALLERY = np.random.default_rng(0).normal(size=(BLOCKS * 64, 32)).astype(np.float32)
QUERY = GALLERY[:64]
BALLAST = np.ones((384, 384), np.float32)


@jax.jit
def _slowly(result, ballast):
    """Return a result when much else is computed, as from a device that is slower than the host."""
    nothing = 0 * (ballast @ ballast @ ballast).sum()
    return jax.tree.map(lambda values: values + nothing.astype(values.dtype), result)


def _top_k(mesh):
    retrieval.top_k(QUERY, GALLERY, 3, mesh=mesh, max_bytes=90_000)


def _streamed(mesh):
    search = StreamedNearest(QUERY, 3, mesh=mesh, max_bytes=64 * (8 * 32 + 13 * 64))
    for start in range(0, len(GALLERY), search.block_rows):
        search.add(GALLERY[start : start + search.block_rows])


def _evaluate(mesh):
    people, cameras = np.arange(len(GALLERY)) % 64, np.arange(len(GALLERY)) % 2
    retrieval.evaluate(QUERY, GALLERY, people[:64], people, cameras[:64], 1 - cameras, mesh=mesh, max_bytes=50_000)


@pytest.mark.parametrize(
    ("search", "module", "step"),
    [
        (_top_k, neighbours, "merge_block"),
        (_streamed, streamed, "merge_block"),
        (_evaluate, device_ranking, "_take"),
        (_evaluate, device_ranking, "_nearer"),
    ],
)
def test_at_most_two_blocks_are_under_way(search, module, step, monkeypatch):
    under_way, results, work = [], [], getattr(module, step)

    def counted(*arguments, **fields):
        under_way.append(sum(not all(x.is_ready() for x in jax.tree.leaves(result)) for result in results))
        results.append(_slowly(work(*arguments, **fields), BALLAST))
        return results[-1]

    monkeypatch.setattr(module, step, counted)
    search(make_mesh(jax.devices()[:2]))
    assert len(under_way) >= BLOCKS
    assert max(under_way) <= 1
