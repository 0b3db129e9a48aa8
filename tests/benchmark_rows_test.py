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
