"""The average of the weights: its steps by hand, and that everything after a phase takes it."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import experiment
from vreid_jax.experiment import run
from vreid_jax.experiment.scoring import restore_variables
from vreid_jax.experiment.setup import make_setup
from vreid_jax.training.average import after_step, averaged, new_average
from vreid_jax.training.checkpoints import Checkpoints, load_state, load_variables


def test_three_steps_worked_by_hand():
    # The decays are 1/10, 2/11 and, capped, 0.2.
    average = new_average({"a/b": jnp.array(10.0)}, {"norm": {"mean": jnp.array(0.0)}})
    found = []
    for step, value in enumerate([20.0, 30.0, 40.0]):
        statistics = {"norm": {"mean": jnp.array(value / 10)}}
        average = after_step(average, {"a/b": jnp.array(value)}, statistics, 0.2, jnp.int32(step))
        found.append(float(average["params"]["a"]["b"]))
    np.testing.assert_allclose(found, [19.0, 2 / 11 * 19 + 9 / 11 * 30, 0.2 * 28 + 0.8 * 40], rtol=1e-6)
    np.testing.assert_allclose(average["batch_stats"]["norm"]["mean"], 0.2 * (2 / 11 * 1.8 + 9 / 11 * 3) + 0.8 * 4)


def test_what_does_not_train_is_not_averaged():
    params = {"head": {"kernel": 1.0}, "stem": {"kernel": 2.0}}
    extra = {"ema": {"params": {"head": {"kernel": 5.0}}, "batch_stats": {}}, "oim": "table"}
    found = averaged(params, {"norm": 3.0}, extra)
    assert found == {"params": {"head": {"kernel": 5.0}, "stem": {"kernel": 2.0}}, "batch_stats": {"norm": 3.0}}
    assert averaged(params, {}, {"oim": "table"}) == {"params": params, "batch_stats": {}}


@pytest.fixture(scope="module")
def averaging(toy_module, data_dir, tmp_path_factory):
    """A run whose two phases average their weights: (its configuration, its workdir, the variables it scored)."""
    settings = toy_module.get_config("walkers")
    settings.data.data_dir = str(data_dir)
    for phase in settings.phases.values():
        phase.optimizer.ema = 0.9
    workdir = tmp_path_factory.mktemp("average") / "run"
    scored = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "score", lambda setup, variables, position: scored.append(jax.device_get(variables)))
        experiment.train_and_evaluate(settings, workdir)
    return settings, workdir, scored[0]


@pytest.mark.slow
def test_evaluation_and_model_files_take_the_average(averaging):
    settings, workdir, scored = averaging
    state = load_state(workdir)
    kept, raw = state["extra"]["ema"]["params"], state["params"]
    assert set(kept) == {"temporal"}  # what the second phase trains
    variables = load_variables(workdir)
    jax.tree.map(np.testing.assert_array_equal, variables["params"]["temporal"], kept["temporal"])
    jax.tree.map(np.testing.assert_array_equal, variables["params"]["spatial"], raw["spatial"])
    jax.tree.map(np.testing.assert_array_equal, variables["batch_stats"], state["extra"]["ema"]["batch_stats"])
    assert not np.array_equal(kept["temporal"]["conv"]["kernel"], raw["temporal"]["conv"]["kernel"])
    restored, _ = restore_variables(make_setup(settings, workdir))
    jax.tree.map(np.testing.assert_array_equal, restored, variables)
    jax.tree.map(np.testing.assert_array_equal, scored, variables)


@pytest.mark.slow
def test_a_phase_starts_from_what_the_one_before_has_averaged(averaging):
    settings, workdir, _ = averaging
    setup = make_setup(settings, workdir)
    with contextlib.closing(Checkpoints(workdir, keep=3)) as checkpoints:
        first = checkpoints.variables(4, setup.abstract_variables)  # the end of the first phase, of two
    last = load_state(workdir)["params"]
    jax.tree.map(np.testing.assert_array_equal, first["params"]["spatial"], last["spatial"])
