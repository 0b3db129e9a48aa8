"""One gallery, whoever computes it: one device, several, or two processes that share the tracklets."""

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vreid_jax import inference
from vreid_jax.search import open_gallery

pytest.importorskip("pyarrow")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model_file(untrained, tmp_path_factory):
    config = runpy.run_path(str(ROOT / "configs" / "person_vlad.py"))["get_config"]("walkers")
    file = tmp_path_factory.mktemp("model") / "narrow.safetensors"
    inference.save(untrained(config, width=2, num_clusters=4), file)
    return file


def start(model_file, data_dir, out, devices, environment=None):
    command = [sys.executable, "-m", "vreid_jax.cli.command", "embed", "walkers/tiny", f"--model={model_file}"]
    return subprocess.Popen(
        [*command, f"--data-dir={data_dir}", f"--out={out}", "--quiet", "--json"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
            **(environment or {}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_one_device_four_devices_and_two_processes_write_the_same_gallery(model_file, data_dir, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outs = {name: tmp_path / f"{name}.parquet" for name in ("one", "four", "two-processes")}
    runs = [start(model_file, data_dir, outs["one"], 1), start(model_file, data_dir, outs["four"], 4)]
    for number in range(2):
        environment = {
            "VREID_COORDINATOR": f"127.0.0.1:{port}",
            "VREID_NUM_PROCESSES": "2",
            "VREID_PROCESS_ID": str(number),
        }
        runs.append(start(model_file, data_dir, outs["two-processes"], 2, environment))
    for run in runs:
        printed, said = run.communicate(timeout=300)
        assert run.returncode == 0, said
        assert json.loads(printed[printed.index("{") :])["tracklets"] == 21  # the processes' connection talks, too
    expected = open_gallery(outs["one"])
    assert np.abs(expected.vectors).max() > 0
    for name in ("four", "two-processes"):
        found = open_gallery(outs[name])
        assert found.columns["tracklet_id"].tolist() == expected.columns["tracklet_id"].tolist()
        np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {out.name for out in outs.values()}
