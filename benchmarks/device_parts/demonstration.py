"""Two hundred steps of the demonstration: the steps alone, on batches that stay on the device, and a run with its data."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import jax
from programs import filled, training_step

from device_parts.measuring import CUBLAS, Run, compile_all
from device_parts.systems import CONFIGS
from vreid_jax.config import from_file, set_field
from vreid_jax.experiment import train_and_evaluate

TINY = (
    "strong_baseline.py:walkers,data.name=walkers/tiny,model.backbone_fields.width=4,phases.clips.batch_size=8,"
    "phases.clips.identities_per_batch=2"
)
STEPS = 100
"""Of each phase."""


def measure(run: Run) -> None:
    """Write steps a second of both phases of `configs/m3d.py`."""
    steps = 3 if run.smoke else STEPS
    config = from_file(f"{CONFIGS}/{TINY if run.smoke else 'm3d.py:walkers'}")
    programs = {phase: training_step(config, phase, jax.devices()[0]) for phase in config.phase_order}
    compiled = compile_all(run, {phase: program.lower for phase, program in programs.items()}, on_gpu=CUBLAS)
    for phase, each in compiled.items():
        with run.case(f"{config.system} {phase}, steps alone"):
            seed, state, batch = filled(programs[phase])
            state, _ = each.program(seed, state, batch)
            jax.block_until_ready(state)
            started = time.perf_counter()
            for _ in range(steps):
                state, metrics = each.program(seed, state, batch)
            jax.block_until_ready((state, metrics))
            rate = steps / (time.perf_counter() - started)
            run.write(
                f"{config.system} {phase}, steps alone", steps=steps, steps_s=round(rate, 1), xla_s=round(each.xla, 1)
            )
    with run.case("whole run"):
        for phase in config.phase_order:
            set_field(config, f"phases.{phase}.total_steps", steps)
        set_field(config, "logging.progress", False)
        set_field(config, "logging.every_steps", 1 if run.smoke else 20)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            train_and_evaluate(config, Path(folder), "train")
            seconds = time.perf_counter() - started
            rows = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
        for phase in config.phase_order:
            rates = [row["clips_per_second"] for row in rows if row.get("phase") == phase and "clips_per_second" in row]
            losses = [round(row["loss"], 3) for row in rows if row.get("phase") == phase and "loss" in row]
            batch_size = config.phases[phase].batch_size
            run.write(
                f"{config.system} {phase}, with its data",
                steps=steps,
                steps_s=round(statistics.median(rates) / batch_size, 1),
                loss=f"{losses[0]} → {losses[-1]}",
            )
        run.write("the whole run, compilation included", steps=steps * len(config.phase_order), s=round(seconds, 1))
