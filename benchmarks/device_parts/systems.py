"""A training step and inference of every system at the size of its MARS recipe, on synthetic batches."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

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


def programs_of(run: Run, systems) -> dict[str, Program]:
    """Return the programs of the systems by name; one that cannot be made becomes a row."""
    found, device = {}, jax.devices()[0]
    for name, (file, phases, streams) in systems.items():
        with run.case(name):
            config = _configuration(file, run.smoke)
            for phase in phases:
                found[f"{name}, {phase}, train"] = training_step(config, phase, device)
            count = 16 if run.smoke else BATCH_FRAMES
            for stream in streams:
                program = evaluation_program(config, stream, device, batch_frames=count)
                found[f"{name}, {stream}, inference"] = program
    return found


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


def measure(run: Run, systems=None) -> None:
    """Write a row for each program: clips a second, milliseconds, share of the card's rate, compilation, memory."""
    _know_osnet()
    found = programs_of(run, systems or SYSTEMS)
    operations: dict[str, float] = {}

    def lowering(name: str, program: Program):
        def lower():
            traced = program.function.trace(*program.arguments)
            operations[name] = matrix_operations(traced.jaxpr)
            return traced.lower()

        return lower

    compiled = compile_all(run, {name: lowering(name, program) for name, program in found.items()}, 0.75, CUBLAS)
    peak = rate(run)
    for name, each in compiled.items():
        with run.case(name):
            _measure_one(run, name, found[name], each, operations[name], peak)


def _know_osnet() -> None:
    """Make OSNet known to systems on frames, where it is not yet."""
    if "osnet_x0_25" not in frames.names():
        frames.register("osnet_x0_25", partial(osnet.backbone, "osnet_x0_25"), maps="conv5")


def rate(run: Run) -> float:
    """Return the measured matrix rate of the dtype that `auto` chooses here, operations a second, or 0."""
    rows = [json.loads(line) for line in run.file.read_text().splitlines()] if run.file.exists() else []
    wanted = f", {compute_dtype('auto')}"
    return next((1e12 * row["TFLOPs"] for row in rows if "TFLOPs" in row and wanted in row["case"]), 0.0)


def _measure_one(run: Run, name: str, program: Program, compiled: Compiled, operations: float, peak: float) -> None:
    """Run a program and write its row."""
    arguments = filled(program)
    seconds = 0.1 if run.smoke else 0.8
    if program.name.endswith("_train"):
        state, batch = arguments
        held = [state]

        def call():
            held[0], metrics = compiled.program(held[0], batch)
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
    measure(run, BEFORE)
