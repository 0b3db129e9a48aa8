"""Every row of the tables on walkers is a configuration that exists."""

import importlib
from pathlib import Path

import pytest

from vreid_jax import models

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("system", ["m3d", "nonlocal3d", "person_vlad"])
def test_every_row_is_a_configuration(system, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    rows = importlib.import_module(f"{system}_table").ROWS
    runs = importlib.import_module("walkers_runs")
    for title, changes in rows.values():
        assert title
        models.create(num_classes=2, **runs.configuration(system, changes or {}).model)


@pytest.mark.parametrize("name", ["vgg", "vlad", "m3d"])
def test_every_row_with_optical_flow_has_the_streams_that_it_is_read_from(name, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    table = importlib.import_module("two_stream_table")
    runs = importlib.import_module("walkers_runs")
    system, argument = table.ROWS[name]
    config = runs.configuration(system, {"seed": 1, **table.start(name, 1, Path("out"))}, argument)
    module = models.create(num_classes=2, **config.model)
    streams = config.evaluation.streams
    assert set(table.TITLES[name]) - {None} <= set(streams)
    assert "flow" in {models.inputs_of(module, stream.apply) for stream in streams.values()} or name == "vlad"
