"""What a system reports before a phase stands in `metrics.jsonl`, and names what came trained."""

import dataclasses

import pytest

from vreid_jax import experiment
from vreid_jax.models import registry
from vreid_jax.training.metrics import read_metrics


@pytest.fixture
def reporting(toy, monkeypatch):
    """A configuration whose system reports what variables came trained."""
    entry = registry.entry("toy")

    def prepare(phase, state, batches):
        batches.report({"trained_before": float(len(batches.kept)), "clips": batches.phase.clip.length})
        return state

    monkeypatch.setitem(registry._ENTRIES, "toy", dataclasses.replace(entry, prepare=prepare))
    toy.phases.spatial.total_steps, toy.phases.temporal.total_steps = 2, 1
    return toy


def test_reports_are_lines_before_the_steps_of_their_phase(reporting, tmp_path):
    experiment.train_and_evaluate(reporting, tmp_path / "run", "train")
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    found = [(line["step"], line["phase"], line["clips"]) for line in lines if "clips" in line]
    assert found == [(0, "spatial", 1), (2, "temporal", 2)]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3]
    reporting.init_from = str(tmp_path / "run")
    experiment.train_and_evaluate(reporting, tmp_path / "tuned", "train")
    (first, *_) = read_metrics(tmp_path / "tuned" / "metrics.jsonl")
    assert first["trained_before"] > 10
