"""Restart equals no restart, one device equals four, and a run may start from another's parameters."""

import contextlib
import dataclasses
import gc
import json
import os
import runpy
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from vreid_jax import experiment
from vreid_jax.errors import InputError, Interrupted
from vreid_jax.experiment import setup as setups
from vreid_jax.experiment.phases import begin_phase, plan_phases, restore, train_batches
from vreid_jax.experiment.scoring import restore_variables
from vreid_jax.experiment.setup import make_setup
from vreid_jax.models import registry
from vreid_jax.runtime.mesh import make_mesh
from vreid_jax.training import loop
from vreid_jax.training.checkpoints import Checkpoints


def outcome(config, workdir):
    """The state at the newest checkpoint, the position, and the batch that would come next."""
    setup = make_setup(config, workdir)
    plans = plan_phases(setup)
    with contextlib.closing(Checkpoints(workdir, keep=3)) as checkpoints:
        state, position = restore(setup, plans, checkpoints)
    plan = plans[position.phase]
    batches = train_batches(setup, plan, plan.total_steps + 1, position.phase_step)
    return jax.device_get(state), dataclasses.replace(position, seconds=0.0), next(batches)


@pytest.fixture(scope="module")
def finished_outcome(finished):
    workdir, config, _ = finished
    return outcome(config, workdir)


def assert_bitwise_equal(first, second):
    (state, place, batch), (other, other_place, other_batch) = first, second
    assert place == other_place
    assert jax.tree.structure(state) == jax.tree.structure(other)
    for part in ("params", "batch_stats", "opt_state", "step", "extra"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, part), getattr(other, part))
    jax.tree.map(np.testing.assert_array_equal, batch, other_batch)


class SignalAt:
    """Sends this process SIGTERM when the given step of a run has been taken."""

    def __init__(self, monkeypatch, at):
        self.count, self.at = 0, at
        stopped = loop.stopped

        def signal_and_look(*arguments, **named):
            self.count += 1
            if self.count == self.at:
                os.kill(os.getpid(), signal.SIGTERM)
            return stopped(*arguments, **named)

        monkeypatch.setattr(loop, "stopped", signal_and_look)


@pytest.mark.parametrize(
    "at",
    [pytest.param(2, marks=pytest.mark.slow), 3, *(pytest.param(at, marks=pytest.mark.slow) for at in (4, 6))],
    ids=lambda at: f"step {at}",
)
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    finished, finished_outcome, toy, tmp_path, monkeypatch, at
):
    """Steps 2 and 3 are inside the first phase, 4 is its last, 6 is inside the second."""
    SignalAt(monkeypatch, at)
    with pytest.raises(Interrupted, match=f"stopped at step {at}"):
        experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    assert_bitwise_equal(finished_outcome, outcome(toy, tmp_path / "run"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    expected = [json.loads(line) for line in (finished[0] / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(line["step"], line["loss"]) for line in expected]


@pytest.mark.slow
def test_a_run_stopped_between_its_checkpoints_equals_one_that_was_killed_there(
    finished_outcome, toy, tmp_path, monkeypatch
):
    """What comes after the last checkpoint is lost and done again: step 5 dies, step 4 was saved."""
    stopped = loop.stopped
    seen = []

    def fail(*arguments, **named):
        seen.append(1)
        if len(seen) == 5:
            raise MemoryError
        return stopped(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "stopped", fail)
        with pytest.raises(MemoryError):
            experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    assert_bitwise_equal(finished_outcome, outcome(toy, tmp_path / "run"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # reads that nobody waits for any more
def test_a_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before_bit_for_bit(
    finished, finished_outcome, toy, tmp_path, caplog
):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    for file in (workdir / "checkpoints" / "8" / "state").rglob("d/*"):  # not all of what is in them is in use
        content = np.frombuffer(file.read_bytes(), np.uint8).copy()
        content[::64] ^= 1
        file.write_bytes(content.tobytes())
    _, position = restore_variables(make_setup(toy, workdir))
    assert position.step == 6  # what results.json would say
    experiment.train_and_evaluate(toy, workdir, "train")
    assert caplog.text.count("checkpoints/8 is damaged") == 2
    assert caplog.text.count("it is left out, and checkpoint 6 is taken in its place") == 2
    assert_bitwise_equal(finished_outcome, outcome(toy, workdir))
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["4", "6", "8", "8.damaged"]
    gc.collect()


@contextlib.contextmanager
def remembering(toy_module, data_dir):
    """A configuration with the table of OIM, whose shape it gives, and an array that only the system's `prepare` knows.

    The weights are averaged besides.
    """
    config = toy_module.get_config("walkers")
    config.data.data_dir = str(data_dir)
    config.phases.temporal.losses.update({"softmax": {"weight": 0.0}, "oim": {"weight": 1.0}})
    config.phases.temporal.optimizer.name = (
        "sgd"  # Adam's first step would make the rounding of a gradient near 0 count
    )
    config.phases.temporal.optimizer.ema = 0.9
    config.phases.spatial.total_steps = 2
    entry = registry.entry("toy")

    def prepare(phase, state, batches):
        cached = sum(batch["frames"].mean((1, 2, 3)) for batch in batches(2))
        return entry.prepare(phase, state, batches).replace(extra={**state.extra, "cached": cached})

    def update(state, outputs, batch):
        return state.replace(extra={**state.extra, "cached": state.extra["cached"] + 1})

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._ENTRIES, "toy", dataclasses.replace(entry, prepare=prepare, update=update))
        yield config


@pytest.fixture(scope="module")
def remembered(toy_module, data_dir, tmp_path_factory):
    """The finished run of `remembering`, and its outcome."""
    workdir = tmp_path_factory.mktemp("remembering") / "run"
    with remembering(toy_module, data_dir) as config:
        experiment.train_and_evaluate(config, workdir, "train")
        return workdir, outcome(config, workdir)


def test_what_a_loss_and_a_system_remember_restarts_bit_for_bit(
    remembered, toy_module, data_dir, tmp_path, monkeypatch
):
    with remembering(toy_module, data_dir) as config:
        SignalAt(monkeypatch, 4)
        with pytest.raises(Interrupted, match="stopped at step 4"):
            experiment.train_and_evaluate(config, tmp_path, "train")
        half = outcome(config, tmp_path)[0].extra["oim"].table
        experiment.train_and_evaluate(config, tmp_path, "train")
        parts = outcome(config, tmp_path)
    whole = remembered[1]
    assert_bitwise_equal(whole, parts)
    table = whole[0].extra["oim"].table
    lengths = np.linalg.norm(table, axis=1)
    assert table.shape == (16, 8)
    np.testing.assert_allclose(lengths[lengths > 0], 1, rtol=1e-5)
    assert 0 < (half.any(1)).sum() <= (lengths > 0).sum()
    assert np.any(half != table)
    assert whole[0].extra["cached"].shape == (8, 3)
    average = whole[0].extra["ema"]["params"]["temporal"]["conv"]["kernel"]
    assert np.any(average != whole[0].params["temporal"]["conv"]["kernel"])


def test_one_device_has_the_losses_and_the_memory_of_four(remembered, toy_module, data_dir, tmp_path, monkeypatch):
    """Every identity occurs twice in a batch: the positives of the triplet lie on two devices, and the order of OIM counts."""
    assert len(jax.devices()) == 4
    monkeypatch.setattr(setups, "batch_mesh", lambda sizes: make_mesh(jax.devices()[:1]))
    with remembering(toy_module, data_dir) as config:
        experiment.train_and_evaluate(config, tmp_path, "train")
        one = outcome(config, tmp_path)[0]
    workdir, (four, _, _) = remembered
    found, expected = (
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path, workdir)
    )
    assert len(set(expected)) == len(expected) == 6
    np.testing.assert_allclose(found[:2], expected[:2], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[2:], expected[2:], rtol=1e-4)  # they are about 20
    assert (np.linalg.norm(four.extra["oim"].table, axis=1) > 0.9).sum() > 8
    np.testing.assert_allclose(one.extra["oim"].table, four.extra["oim"].table, rtol=0, atol=1e-5)
    np.testing.assert_allclose(one.extra["cached"], four.extra["cached"], rtol=1e-6)


@pytest.mark.slow
def test_a_batch_that_four_devices_cannot_share_trains_on_three_as_on_one(toy, tmp_path, monkeypatch):
    toy.phase_order = ("temporal",)
    toy.phases.temporal.update(batch_size=6, identities_per_batch=3)
    assert setups.make_setup(toy, tmp_path / "three").mesh.size == 3
    experiment.train_and_evaluate(toy, tmp_path / "three", "train")
    monkeypatch.setattr(setups, "batch_mesh", lambda sizes: make_mesh(jax.devices()[:1]))
    experiment.train_and_evaluate(toy, tmp_path / "one", "train")
    three, one = (
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("three", "one")
    )
    assert len(set(one)) == 4
    np.testing.assert_allclose(three, one, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_longer_run_continues_a_finished_one(toy, tmp_path):
    toy.phase_order = ("spatial",)
    toy.phases.spatial.schedule.name = "constant"
    toy.phases.spatial.total_steps = 2
    experiment.train_and_evaluate(toy, tmp_path / "parts", "train")
    toy.phases.spatial.total_steps = 4
    experiment.train_and_evaluate(toy, tmp_path / "parts", "train")
    experiment.train_and_evaluate(toy, tmp_path / "whole", "train")
    assert_bitwise_equal(outcome(toy, tmp_path / "whole"), outcome(toy, tmp_path / "parts"))


def test_a_checkpoint_of_another_version_is_one_sentence(finished, toy, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    place = tmp_path / "run" / "checkpoints" / "8" / "place" / "metadata"
    place.write_text(json.dumps({**json.loads(place.read_text()), "finished": True}))
    shutil.rmtree(place.parents[1] / "digests")  # it had none, or others
    with pytest.raises(InputError, match="was written by another version of vreid_jax; go on with that"):
        experiment.train_and_evaluate(toy, tmp_path / "run", "train")


def test_a_start_from_another_model_lists_both_sides(finished, toy, tmp_path):
    toy.init_from = str(finished[0])
    toy.model.width = 6
    with pytest.raises(InputError, match="is of another model; in it without a place: ") as error:
        experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    theirs, ours = str(error.value).split("in the model without a value")
    assert "params/spatial/norm/scale (4,) for params/spatial/norm/scale (6,)" in theirs
    assert "params/spatial/norm/scale" in ours


def test_parameters_start_from_another_run(finished, finished_outcome, toy, tmp_path):
    toy.init_from = str(finished[0])
    setup = make_setup(toy, tmp_path / "run")
    state, _ = begin_phase(setup, plan_phases(setup)["spatial"], None, None)
    for part in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, getattr(finished_outcome[0], part), getattr(state, part))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_narrow_two_stream_network_restarts_bit_for_bit(data_dir, tmp_path, monkeypatch, dtype):
    """The real system in place of the toy: stopped inside its second phase, after its temporal kernels have moved."""
    file = Path(__file__).parents[2] / "configs" / "m3d.py"
    config = runpy.run_path(str(file))["get_config"]("walkers,clip_length=2,data.name=walkers/tiny,model.width=4")
    with config.unlocked():
        config.model.stage_sizes = (1, 1, 1, 1)
    config.data.update(data_dir=str(data_dir), height=32, width=16)
    config.dtype = dtype
    for phase in config.phases.values():
        phase.update(batch_size=8, total_steps=3)
    config.logging.update(every_steps=1, tensorboard=False, progress=False)
    config.evaluation.batch_frames = 64
    found = experiment.train_and_evaluate(config, tmp_path / "whole")
    assert found.step == 6
    assert found.streams.keys() == {"spatial", "temporal"}
    SignalAt(monkeypatch, 5)
    with pytest.raises(Interrupted, match="stopped at step 5"):
        experiment.train_and_evaluate(config, tmp_path / "parts", "train")
    experiment.train_and_evaluate(config, tmp_path / "parts", "train")
    whole = outcome(config, tmp_path / "whole")
    assert_bitwise_equal(whole, outcome(config, tmp_path / "parts"))
    assert ("loss_scale" in whole[0].extra) == (dtype == "float16")
