"""Whole runs in processes of their own: on other devices, several at once, stopped and killed.

How one device and four compare within a process is in restart_test.py.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from vreid_jax import experiment
from vreid_jax.training.checkpoints import load_state

ROOT = Path(__file__).parents[2]
CLIPS_FILE = ROOT / "tests" / "toy_clips_config.py"


def start(file, data_dir, workdir, devices=1, environment=None, mode="train", **changes):
    """Start a run of a toy system; `changes` are fields, dots written as two underscores."""
    flags = [f"--config.{name.replace('__', '.')}={value}" for name, value in changes.items()]
    command = [sys.executable, "-m", "vreid_jax.main", f"--config={file}", f"--workdir={workdir}", f"--mode={mode}"]
    said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - not a pipe, which fills up while nobody reads it
    process = subprocess.Popen(
        [*command, f"--config.data.data_dir={data_dir}", *flags],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
            **(environment or {}),
        },
        stdout=subprocess.DEVNULL,
        stderr=said,
    )
    process.said = said
    return process


def start_two_processes(file, data_dir, workdir, port, **options):
    """The same run in two processes of two devices each."""
    environments = [
        {"VREID_COORDINATOR": f"127.0.0.1:{port}", "VREID_NUM_PROCESSES": "2", "VREID_PROCESS_ID": str(number)}
        for number in range(2)
    ]
    return [start(file, data_dir, workdir, 2, environment, **options) for environment in environments]


def finish(process, code=0):
    """Wait for a run; returns what it said on the way."""
    try:
        process.wait(timeout=240)
    finally:
        process.kill()
    said = read(process)
    process.said.close()
    assert process.returncode == code, said
    return said


def read(process):
    process.said.seek(0)
    return process.said.read()


def losses(workdir):
    return [json.loads(line)["loss"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def saved(workdir):
    folder = workdir / "checkpoints"
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []


def wait_until(condition, process, seconds=300):
    end = time.monotonic() + seconds
    try:
        while not condition():
            assert process.poll() is None, read(process)
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.02)
    except BaseException:
        process.kill()  # it would train for a day
        raise


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.slow
def test_two_processes_train_rank_and_rerank_as_one_does(finished_clips, small, data_dir, tmp_path, port):
    """Features extracted and cached by both, their clips corrupted, the learned similarity behind a shortlist."""
    changes = {"phases.similarity.clip.corrupt": 2, "evaluation.shortlist": 5, "evaluation.rerank": True}
    options = {name.replace(".", "__"): value for name, value in changes.items()}
    one = shutil.copytree(finished_clips[0], tmp_path / "one")
    experiment.train_and_evaluate(small(**changes), one, "evaluate")
    runs = start_two_processes(CLIPS_FILE, data_dir, tmp_path / "two", port, mode="train_and_evaluate", **options)
    for run in runs:
        finish(run)
    assert_same_losses(tmp_path / "two", one, phases=(3, 4))
    assert_same_scores(tmp_path / "two", one)


def assert_same_losses(workdir, expected, phases):
    """Step by step, less exactly in the second phase."""
    first, second = phases
    wanted = losses(expected)
    assert len(set(wanted)) == len(wanted) == first + second
    np.testing.assert_allclose(losses(workdir)[:first], wanted[:first], rtol=0, atol=1e-5)
    np.testing.assert_allclose(losses(workdir)[first:], wanted[first:], rtol=0, atol=1e-4)


def assert_same_scores(workdir, expected):
    two, one = (json.loads((folder / "results.json").read_text()) for folder in (workdir, expected))
    for scores in ("protocols", "reranked"):
        assert one[scores]["walkers"]["num_valid_queries"] == two[scores]["walkers"]["num_valid_queries"] > 0
        for score in ("mAP", "rank1"):
            assert two[scores]["walkers"][score] == pytest.approx(one[scores]["walkers"][score], abs=1e-5)
    assert one["reranked"]["walkers"]["mAP"] != one["protocols"]["walkers"]["mAP"]


@pytest.mark.slow
def test_processes_of_one_device_of_four_and_two_at_once_have_the_same_losses(toy_file, data_dir, tmp_path, port):
    steps = {"phases__spatial__total_steps": 3, "phases__temporal__total_steps": 3}
    runs = [start(toy_file, data_dir, tmp_path / f"devices-{n}", n, **steps) for n in (1, 4)]
    runs += start_two_processes(toy_file, data_dir, tmp_path / "processes", port, **steps)
    for run in runs:
        finish(run)
    for other in ("devices-4", "processes"):
        assert_same_losses(tmp_path / other, tmp_path / "devices-1", phases=(3, 3))


@pytest.mark.slow
@pytest.mark.parametrize("shortlist", [0, 5])
def test_two_processes_rank_and_rerank_by_a_learned_similarity_as_one_device_does(data_dir, tmp_path, port, shortlist):
    changes = {"mode": "train_and_evaluate", "evaluation__shortlist": shortlist, "evaluation__rerank": True}
    runs = [start(CLIPS_FILE, data_dir, tmp_path / "one", **changes)]
    runs += start_two_processes(CLIPS_FILE, data_dir, tmp_path / "two", port, **changes)
    for run in runs:
        finish(run)
    assert_same_scores(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_the_table_of_oim_is_the_same_in_a_process_of_one_device_and_of_four(toy_file, data_dir, tmp_path):
    """Sixteen clips of sixteen identities: some occur twice in a batch, so the order of rows counts."""
    fields = {"phases__temporal__total_steps": 3, "phases__temporal__batch_size": 16, "phase_order": "('temporal',)"}
    fields |= {
        f"phases__temporal__losses__{name}__weight": w for name, w in (("softmax", 0), ("triplet", 0), ("oim", 1))
    }
    fields |= {"phases__temporal__sampler": "frames"}
    runs = [start(toy_file, data_dir, tmp_path / f"devices-{n}", n, **fields) for n in (1, 4)]
    for run in runs:
        finish(run)
    tables = [load_state(tmp_path / f"devices-{n}")["extra"]["oim"]["table"] for n in (1, 4)]
    assert tables[0].shape == (16, 8)
    assert (np.linalg.norm(tables[0], axis=1) > 0.9).sum() > 8
    np.testing.assert_allclose(tables[1], tables[0], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_run_that_is_stopped_and_killed_goes_on_and_finishes(toy_file, data_dir, tmp_path):
    workdir = tmp_path / "run"
    long = {"phases__spatial__total_steps": 100_000, "checkpoint__every_steps": 10}

    run = start(toy_file, data_dir, workdir, **long)
    wait_until(lambda: (workdir / "metrics.jsonl").exists() and len(losses(workdir)) > 2, run)
    run.send_signal(signal.SIGTERM)
    said = finish(run, 128 + signal.SIGTERM)
    (line,) = [line for line in said.splitlines() if line.startswith("vreid_jax:")]
    assert "saved; run the same command again to go on" in line
    stopped_at = saved(workdir)[-1]
    assert f"stopped at step {stopped_at} " in line

    run = start(toy_file, data_dir, workdir, **long)
    wait_until(lambda: saved(workdir)[-1] > stopped_at, run)
    time.sleep(random.uniform(0, 0.5))
    run.kill()
    finish(run, -signal.SIGKILL)
    killed_at = saved(workdir)[-1]

    short = {"phases__spatial__total_steps": killed_at + 15, "phases__temporal__total_steps": 1}
    finish(start(toy_file, data_dir, workdir, checkpoint__every_steps=10, **short))
    steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, killed_at + 17))
    assert saved(workdir)[-1] == killed_at + 16
