"""What is compiled is compiled once: neither the steps of a run nor the batches of an evaluation are traced again."""

import chex
import jax
import numpy as np
import pytest

from vreid_jax import experiment
from vreid_jax.data import TrackletSource
from vreid_jax.evaluation import features
from vreid_jax.training import step


class TracedOnce:
    """JAX, whose `jit` refuses a second trace of the same function."""

    def __init__(self):
        self.functions = []

    def __getattr__(self, name):
        return getattr(jax, name)

    def jit(self, function, **options):
        name = function.__name__
        self.functions.append(name)
        function.__name__ += f"_{len(self.functions)}"  # chex counts what has one name and one source together
        counted = chex.assert_max_traces(function, n=1)
        counted.__name__ = name
        return jax.jit(counted, **options)


@pytest.fixture
def traced_once(monkeypatch):
    chex.clear_trace_counter()
    features._embedder.cache_clear()
    traced = TracedOnce()
    monkeypatch.setattr(step, "jax", traced)
    monkeypatch.setattr(features, "jax", traced)
    yield traced
    features._embedder.cache_clear()


def test_a_run_and_its_evaluation_on_ragged_tracklets_trace_each_program_once(toy, traced_once, tiny_builder, tmp_path):
    assert len(set(TrackletSource(tiny_builder, "gallery").num_frames)) > 3
    experiment.train_and_evaluate(toy, tmp_path / "run")
    # A step for each phase, and an embedder for each stream, which the scores of the untrained network use again.
    assert sorted(traced_once.functions) == ["embed", "embed", "step", "step"]


def test_a_second_trace_would_be_found(traced_once):
    double = traced_once.jit(lambda x: 2 * x)
    double(np.ones(2))
    with pytest.raises(AssertionError, match="traced > 1 times"):
        double(np.ones(3))
