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
    for title, changes, *_ in rows.values():
        assert title
        models.create(num_classes=2, **runs.configuration(system, changes or {}).model)


def test_the_tables_of_the_3d_resnet_name_their_rows(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("nonlocal3d_table")
    named = {row for _, rows, _ in module.TABLES.values() for row in rows.split()}
    starts = {row.start for row in module.ROWS.values() if row.start}
    assert named | starts == set(module.ROWS)
    scores = {0: (50.0, 40.0, 50.0, 9.0), 1: (52.0, 44.0, 50.0, 11.0)}
    text = module.tables({("nonlocal", ""): scores, ("nonlocal", "jitter"): {0: scores[0]}}, ["2", "3"])
    title = module.ROWS["nonlocal"].title
    assert f"| {title} | 77.0 / 84.3 | 51.0 ± 1.4 | 42.0 ± 2.8 | 50.0 ± 0.0 | 10 s | 2 |" in text
    assert f"| {title}, jitter |  | 50.0 | 40.0 | 50.0 | 9 s | 1 |" in text
    assert text.count("### ") == 2


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
