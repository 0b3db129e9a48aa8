"""A whole run: data, model, phases, evaluation; what the command line, the tests and the notebooks call."""

import contextlib
from pathlib import Path

import jax
from ml_collections import ConfigDict

from vreid_jax.errors import InputError, Interrupted
from vreid_jax.experiment.flow import give_flow
from vreid_jax.experiment.phases import plan_phases, restore, train
from vreid_jax.experiment.preflight import check_evaluation, check_reached, check_training
from vreid_jax.experiment.results import Results
from vreid_jax.experiment.scoring import restore_variables, score
from vreid_jax.experiment.setup import make_setup
from vreid_jax.experiment.splits import run_all_splits
from vreid_jax.experiment.workdir import check_checkpoints, only_trainer, open_workdir
from vreid_jax.files import given_path
from vreid_jax.training.checkpoints import Checkpoints
from vreid_jax.training.loop import stopped
from vreid_jax.training.signals import StopRequest, stop_requests

MODES = ("train_and_evaluate", "train", "evaluate")


def train_and_evaluate(config: ConfigDict, workdir: str | Path, mode: str = "train_and_evaluate") -> Results | None:
    """Run a configuration in `workdir`: build or find the data, train what is left to train, evaluate.

    An empty or new folder is a new run; one with a checkpoint is resumed; a finished one is evaluated again. With
    `split` "all" every split is such a run in a folder of its own, and the results are means over them.

    Args:
      config: a configuration as `get_config` of a file in `configs/` returns it.
      workdir: gets `config.json`, `metrics.jsonl`, TensorBoard events, `checkpoints/`, `features/`, `results.json`.
      mode: `train_and_evaluate`, `train` (returns nothing) or `evaluate` (needs a checkpoint).

    Returns:
      The results, also in `results.json`.

    Raises:
      InputError: for anything the user can mend, before any training.
      NonFiniteLoss: when the loss is not finite any more.
      Interrupted: after SIGINT or SIGTERM, when the state is saved.
    """
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}; it is one of {', '.join(MODES)}")
    workdir = given_path(workdir)
    if config.split == "all":
        return run_all_splits(config, workdir, mode, _run)
    return _run(config, workdir, mode)


def _run(config: ConfigDict, workdir: Path, mode: str) -> Results | None:
    return _evaluate(config, workdir) if mode == "evaluate" else _train(config, workdir, scores=mode != "train")


def _train(config: ConfigDict, workdir: Path, scores: bool) -> Results | None:
    setup = make_setup(config, workdir, trains=True)
    plans = plan_phases(setup)
    check_evaluation(setup, scores)
    check_training(setup, plans)
    give_flow(setup)
    if setup.mesh.size < jax.device_count() and jax.process_index() == 0:
        sizes = sorted({plan.phase.batch_size // plan.phase.accumulation_steps for plan in plans.values()})
        batches = " and ".join(map(str, sizes))
        print(
            f"training on {setup.mesh.size} of {jax.device_count()} devices, over which batches of {batches} divide",
            flush=True,
        )
    alone = only_trainer(workdir) if jax.process_index() == 0 else contextlib.nullcontext()
    with alone, stop_requests() as stop:
        # Opening is a collective operation, so every process does it, whatever the folder holds by now.
        with contextlib.closing(Checkpoints(workdir, setup.settings.checkpoint.keep, clean=True)) as checkpoints:
            reached = restore(setup, plans, checkpoints)
            last = list(plans.values())[-1]
            if not reached or (reached[1].phase, reached[1].phase_step) != (last.name, last.total_steps):
                open_workdir(workdir, config)  # that of a finished run changes together with its results
            checkpoints.tidy_up()
            state, position = train(setup, plans, checkpoints, reached, stop)
        _leave_if_stopped(stop)
    return score(setup, state.variables, position) if scores else None


def _evaluate(config: ConfigDict, workdir: Path) -> Results:
    check_checkpoints(workdir)
    setup = make_setup(config, workdir)
    check_evaluation(setup)
    give_flow(setup)
    with stop_requests() as stop:
        variables, position = restore_variables(setup)
        _leave_if_stopped(stop)
    return score(setup, variables, position, check_reached(setup, position))


def _leave_if_stopped(stop: StopRequest) -> None:
    """Leave after a signal between the last step and the evaluation."""
    if stopped(stop):
        raise Interrupted("stopped; nothing is lost: run the same command again to go on", stop.number or 15)
