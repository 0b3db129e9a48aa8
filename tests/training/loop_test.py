import itertools
import json
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.config import phase
from vreid_jax.config.phases import Phase
from vreid_jax.errors import InputError, Interrupted, NonFiniteLoss
from vreid_jax.training import loop
from vreid_jax.training.checkpoints import Checkpoints
from vreid_jax.training.loop import run_phase
from vreid_jax.training.metrics import DeferredMetrics, MetricsWriter
from vreid_jax.training.position import Position
from vreid_jax.training.signals import StopRequest
from vreid_jax.training.state import TrainState


class Batches:
    """Numbers 1, 2, 3 … as batches."""

    def __init__(self, stop_after=None, stop=None):
        self.position, self.stop_after, self.stop = 0, stop_after, stop

    def __iter__(self):
        return self

    def __next__(self):
        self.position += 1
        if self.position == self.stop_after:
            self.stop.number = 15
        return {"label": np.full(4, self.position, np.int32)}


def step(bad_from=10**9):
    """A step that counts, and whose loss is not a number from step `bad_from` on."""

    def take(state, batch):
        number = state.step + 1
        loss = jnp.where(number >= bad_from, jnp.nan, 1.0 / number)
        return state.replace(step=number, extra={"seen": batch["label"][0]}), {"loss": loss}

    return jax.jit(take)


def train(folder, total, train_step=None, batches=None, log_every=2, save_every=3, save_minutes=0, stop=None):
    state = TrainState(jnp.int32(0), {}, {}, (), {"seen": jnp.int32(0)})
    checkpoints = Checkpoints(folder, keep=10)
    writer = MetricsWriter(folder, None, tensorboard=False)
    position = Position("only", 0, 100, 0.0)
    try:
        with DeferredMetrics(writer, position, total, every_steps=log_every, progress=False) as metrics:
            return run_phase(
                state,
                position,
                train_step or step(),
                batches or Batches(),
                metrics,
                checkpoints,
                total_steps=total,
                log_every=log_every,
                save_every=save_every,
                save_minutes=save_minutes,
                stop=stop or StopRequest(),
            )
    finally:
        writer.close()
        checkpoints.close()


def saved(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())


def logged(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_phase_takes_its_steps_and_saves_at_intervals_and_at_the_end(tmp_path):
    state, place = train(tmp_path, 8)
    assert (int(state.step), int(state.extra["seen"])) == (8, 8)
    assert (place.phase_step, place.step) == (8, 108)
    assert saved(tmp_path) == [103, 106, 108]


def test_a_phase_saves_by_the_clock(tmp_path, monkeypatch):
    seconds = itertools.count(0, 100)  # the clock is read at the beginning, after each step and after each save
    clock = types.SimpleNamespace(monotonic=lambda: next(seconds), perf_counter=time.perf_counter)
    monkeypatch.setattr(loop, "time", clock)
    train(tmp_path / "minutes", 9, save_every=0, save_minutes=5)  # 300 s: three steps, and two and the save before
    assert saved(tmp_path / "minutes") == [103, 106, 109]
    train(tmp_path / "never", 9, save_every=0)
    assert saved(tmp_path / "never") == [109]


def test_the_log_has_one_object_a_line_with_the_loss_of_that_step(tmp_path):
    train(tmp_path, 8, save_every=100)
    lines = logged(tmp_path)
    assert [line["step"] for line in lines] == [102, 104, 106, 108]
    for line in lines:
        assert line["phase"] == "only"
        assert line["loss"] == pytest.approx(1 / (line["step"] - 100))
        assert line["clips_per_second"] > 0


def test_a_checkpoint_stores_where_the_data_stand(tmp_path):
    train(tmp_path, 7)
    checkpoints = Checkpoints(tmp_path, keep=10)
    place = checkpoints.position(103)
    assert (place.phase, place.phase_step, place.steps_before) == ("only", 3, 100)
    checkpoints.close()


@pytest.mark.parametrize("bad_from", [1, 4, 5, 8])
def test_a_loss_that_is_not_a_number_is_named_and_nothing_is_saved_after_it(tmp_path, bad_from):
    good = [step for step in (103, 106) if step < 100 + bad_from]
    with pytest.raises(NonFiniteLoss, match=f"the loss is nan at step {100 + bad_from} of phase only") as error:
        train(tmp_path, 8, step(bad_from))
    assert (f"last good checkpoint is step {good[-1]}" if good else "no checkpoint is from before") in str(error.value)
    assert saved(tmp_path) == good
    assert all(np.isfinite(line["loss"]) for line in logged(tmp_path))


def test_a_request_to_stop_saves_and_says_how_to_go_on(tmp_path):
    stop = StopRequest()
    with pytest.raises(Interrupted, match=r"stopped at step 105 \(only, 5 of 8\) and saved; run the same") as error:
        train(tmp_path, 8, batches=Batches(5, stop), stop=stop)
    assert error.value.exit_code == 143
    assert saved(tmp_path) == [103, 105]


def test_the_length_of_a_phase_is_in_steps_or_epochs():
    assert Phase.parse(phase(total_steps=7)).length(5) == 7
    assert Phase.parse(phase(total_epochs=3)).length(5) == 15
    for lengths in ({}, {"total_steps": 1, "total_epochs": 1}):
        with pytest.raises(InputError, match="a phase needs exactly one of the two"):
            Phase.parse(phase(**lengths))
    with pytest.raises(InputError, match="total_steps is -1; it must not be negative"):
        Phase.parse(phase(total_steps=-1))
