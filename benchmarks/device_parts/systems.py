"""A training step and inference of every system at the size of its MARS recipe, on synthetic batches."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import filelock
import jax
from operations import matrix_operations
from programs import Program, evaluation_program, filled, training_step

from device_parts.measuring import CUBLAS, Compiled, Run, compile_all, median_ms
from vreid_jax.config import from_file, set_field
from vreid_jax.models.backbones import frames, osnet
from vreid_jax.models.ops import conv3d, conv3d_gradients
from vreid_jax.runtime.dtype import compute_dtype

CONFIGS = Path(__file__).parents[2] / "configs"
# name: (configuration, phases, streams); the most telling first
SYSTEMS = {
    "strong_baseline resnet50": ("strong_baseline.py:mars", ("clips",), ("clips",)),
    "m3d": ("m3d.py:mars", ("temporal", "spatial"), ("temporal", "spatial")),
    "nonlocal3d": ("nonlocal3d.py:mars", ("clips",), ("clips",)),
    "person_vlad": ("person_vlad.py:mars", ("joint",), ("clips",)),
    "clip_similarity": ("clip_similarity.py:mars", ("features",), ("clips",)),
    "strong_baseline osnet_x0_25": ("strong_baseline.py:mars,model.backbone=osnet_x0_25", ("clips",), ("clips",)),
}
BEFORE = {"m3d, native convolutions": ("m3d.py:mars", ("temporal",), ())}
BATCH_FRAMES = 512
"""Frames in a batch of inference."""
MEASURING = 40.0
"""Seconds that are kept for measuring what was compiled side by side."""


def cases(systems) -> dict[str, Callable[[bool], Program]]:
    """Return for each program of the systems a function that makes it: small if its argument is true."""
    found: dict[str, Callable[[bool], Program]] = {}
    for name, (file, phases, streams) in systems.items():
        for phase in phases:
            found[f"{name}, {phase}, train"] = partial(_step, file, phase)
        for stream in streams:
            found[f"{name}, {stream}, inference"] = partial(_embedding, file, stream)
    return found


def _step(file: str, phase: str, smoke: bool) -> Program:
    return training_step(_configuration(file, smoke), phase, jax.devices()[0])


def _embedding(file: str, stream: str, smoke: bool) -> Program:
    count = 16 if smoke else BATCH_FRAMES
    return evaluation_program(_configuration(file, smoke), stream, jax.devices()[0], batch_frames=count)


def _configuration(name: str, smoke: bool):
    """Return the configuration, for `smoke` the one of the demonstration with few clips and few channels."""
    config = from_file(f"{CONFIGS}/{name.replace(':mars', ':walkers') if smoke else name}")
    if smoke:
        if "width" in config.model:
            set_field(config, "model.width", 4)
        for name, phase in config.phases.items():
            set_field(config, f"phases.{name}.batch_size", 4)
            if phase.sampler == "identity":
                set_field(config, f"phases.{name}.identities_per_batch", 2)
    return config


def measure(run: Run) -> None:
    """Write a row for each program: clips a second, milliseconds, share of the card's rate, compilation, memory.

    Each is compiled in a process of its own, since XLA tries out kernels for one program of a process at a time. When all
    are compiled, or the time for it is over, they are measured one after the other.
    """
    script = Path(__file__).parents[1] / "on_device.py"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(script), f"--part={run.part}", f"--out={run.file.parent}", f"--beside={folder}"]
        command += [f"--ends={run.ends}", *(["--smoke"] if run.smoke else [])]
        children: dict[str, subprocess.Popen] = {}
        try:
            for name in cases(SYSTEMS):
                children[name] = subprocess.Popen([*command, f"--program={name}"])
            for name, child in children.items():
                _await(run, name, child)
        finally:
            for child in children.values():
                child.kill()
                child.wait()


def _await(run: Run, name: str, child: subprocess.Popen) -> None:
    """Wait for the process of a program; what it cannot say itself becomes a row."""
    try:
        code = child.wait(max(run.left, 0))
    except subprocess.TimeoutExpired:
        run.write(name, error="not measured when the time of this part was over")
        return
    if code:
        run.write(name, error=f"left with exit code {code}; see log.txt")


def measure_program(run: Run, name: str, beside: Path | None = None, systems=None) -> None:
    """Compile a program, wait until those beside it are compiled too, and write its row."""
    _know_osnet()
    known, ready = cases(systems or SYSTEMS), []
    with run.case(name):
        program, operations = known[name](run.smoke), 0.0

        def lower():
            nonlocal operations
            traced = program.function.trace(*program.arguments)
            operations = matrix_operations(traced.jaxpr)
            return traced.lower()

        share = 0.75 if beside is None else max(0.0, 1 - MEASURING / run.left)
        for compiled in compile_all(run, {name: lower}, share, CUBLAS).values():
            ready.append((program, compiled, filled(program), operations))
    if beside is not None:
        (beside / f"{os.getpid()}.ready").touch()  # also where nothing is to be measured
    for each in ready:
        with _alone(beside, len(known), run), run.case(name):
            _measure_one(run, name, *each, rate(run))


@contextlib.contextmanager
def _alone(beside: Path | None, count: int, run: Run) -> Iterator[None]:
    """Wait until `count` processes are ready or the time for compilation is over, then let one at a time through."""
    if beside is None:
        yield
        return
    while len(list(beside.glob("*.ready"))) < count and run.left > MEASURING:
        time.sleep(0.1)
    with filelock.FileLock(beside / "device.lock"):
        yield


def _know_osnet() -> None:
    """Make OSNet known to systems on frames, where it is not yet."""
    if "osnet_x0_25" not in frames.names():
        frames.register("osnet_x0_25", partial(osnet.backbone, "osnet_x0_25"), maps="conv5")


def rate(run: Run) -> float:
    """Return the measured matrix rate of the dtype that `auto` chooses here, operations a second, or 0."""
    rows = [json.loads(line) for line in run.file.read_text().splitlines()] if run.file.exists() else []
    wanted = f", {compute_dtype('auto')}"
    return next((1e12 * row["TFLOPs"] for row in rows if "TFLOPs" in row and wanted in row["case"]), 0.0)


def _measure_one(
    run: Run, name: str, program: Program, compiled: Compiled, arguments: tuple, operations: float, peak: float
) -> None:
    """Run a program and write its row."""
    seconds = 0.1 if run.smoke else 0.8
    if program.name.endswith("_train"):
        seed, state, batch = arguments
        held = [state]

        def call():
            held[0], metrics = compiled.program(seed, held[0], batch)
            return metrics

        loss = float(call()["loss"])
    else:
        loss = None

        def call():
            return compiled.program(*arguments)

    ms = median_ms(call, seconds)
    memory = compiled.program.memory_analysis()
    held_bytes = memory.argument_size_in_bytes + memory.temp_size_in_bytes if memory else 0
    run.write(
        name,
        clips=program.clips,
        ms=round(ms, 2),
        clips_s=round(1000 * program.clips / ms, 1),
        frames_s=round(1000 * program.clips * program.frames / ms),
        TFLOP=round(operations / 1e12, 3),
        of_matrix_rate=f"{100 * operations / (ms / 1000) / peak:.0f} %" if peak else "",
        GB=round(held_bytes / 1e9, 2),
        trace_s=round(compiled.trace, 1),
        xla_s=round(compiled.xla, 1),
        **({} if loss is None else {"first_loss": round(loss, 3)}),
    )


def measure_before(run: Run) -> None:
    """Write M3D's temporal step with XLA's own 3-D convolutions and their gradients."""

    def gradients(x, kernel, g, strides, padding, dilation):
        geometry = {"strides": strides, "padding": padding, "dilation": dilation}
        return jax.vjp(lambda x, k: conv3d_gradients.native(x, k, **geometry), x, kernel)[1](g)

    conv3d.gpu.convolution, conv3d.gpu.gradients = conv3d_gradients.native, gradients
    for name in cases(BEFORE):
        measure_program(run, name, systems=BEFORE)
