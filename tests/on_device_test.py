"""The script for the day a card is at hand runs from end to end on a processor, with everything tiny."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# PyTorch is not among the dependencies, and its part says so.
PARTS = ("machine", "parity", "convolutions", "systems", "search", "demonstration", "giant", "before", "torch")


def run(out, *flags):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHON": sys.executable}
    command = [str(BENCHMARKS / "on_device.sh"), "--smoke", f"--out={out}", *flags]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_one_part_leaves_its_rows_and_a_table_and_never_overwrites_them(tmp_path):
    done = run(tmp_path / "found", "--parts=machine")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "found" / "results.jsonl").read_text().splitlines()]
    assert {row["part"] for row in rows} == {"machine"}
    assert not [row for row in rows if "error" in row]
    assert "| matrix product 256, bfloat16 |" in (tmp_path / "found" / "results.md").read_text()
    again = run(tmp_path / "found", "--parts=machine")
    assert again.returncode == 2
    assert "results.jsonl exists; give another folder with --out" in again.stderr
    unknown = run(tmp_path / "other", "--parts=machines")
    assert unknown.returncode == 2
    assert "there is no part 'machines'" in unknown.stderr


@pytest.mark.slow
def test_every_part_runs(tmp_path):
    done = run(tmp_path, "--minutes=40")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    failed = [row for row in rows if "error" in row and row["part"] != "torch"]
    assert not failed, (failed, (tmp_path / "log.txt").read_text()[-4000:])
    assert {row["part"] for row in rows if row["case"] == "all"} == set(PARTS)
