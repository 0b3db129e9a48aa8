"""Every row of the tables on walkers is a configuration that exists."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from vreid_jax import models
from vreid_jax.pretrained.fitting import Tensor, fit

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


def test_a_row_of_the_3d_resnet_fits_what_it_starts_from(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    rows = importlib.import_module("nonlocal3d_table").ROWS
    runs = importlib.import_module("walkers_runs")

    def variables(name, num_classes):
        module = models.create(num_classes=num_classes, **runs.configuration("nonlocal3d", rows[name].changes).model)
        clip = jax.ShapeDtypeStruct((1, 8, 64, 32, 3), jnp.float32)
        return flatten_dict(jax.eval_shape(module.init, jax.random.key(0), clip))

    # The largest step of them: a 2-D network inflated into one with blocks.
    assert rows["nonlocal-2d"].start == "average"
    given = {
        path: Tensor("/".join(path), leaf.shape, np.broadcast_to(np.float32(0), leaf.shape))
        for path, leaf in variables("average", 96).items()
    }
    found = fit(given, variables("nonlocal-2d", 256))
    assert (found.unexplained, found.missing) == ([], [])
    assert set(found.left_out) == {"params/head/classifier/kernel", "params/head/classifier/bias"}
    assert ("params", "backbone", "conv1", "kernel") in found.values
