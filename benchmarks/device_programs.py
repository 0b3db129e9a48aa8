"""Compile the training steps and evaluation programs of a configuration for an accelerator that is not there.

    python benchmarks/device_programs.py --device=h100 --config=configs/m3d.py:mars [--phases=temporal] [--hlo=FOLDER] \
        [--results=FOLDER] [--json]

Nothing runs. For each program: the memory it takes, the operations of its matrix products and convolutions, the bytes it
moves, the milliseconds that the card's rates allow (the larger of operations / peak and bytes / bandwidth), what part of
them is matrix work, and each convolution that no kernel of the card takes well; the exit code is 1 where there is one.
Needs the compiler: `jax[cuda12]` or `jax[cuda13]` for a GPU, `jax[tpu]` for a TPU. A step of a paper's size takes one to
three minutes on two cores.

`--hlo` keeps each program as `SYSTEM_PHASE_train.txt` or `SYSTEM_STREAM_eval.txt`. `--results` keeps what was found as
`DEVICE_SYSTEM_PHASE_train.json` and so on; a program whose file is there is not compiled again, so that a run which was
cut short goes on.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import sys
import time
from pathlib import Path

from cards import CARDS, Card


def device_of(card: Card):
    """Return the card's stand-in, for which XLA compiles."""
    from jax.experimental import topologies

    if card.gpu is None:
        # libtpu's hosts have eight chips unless it is told otherwise, and refuse a topology of one from 0.0.48 on.
        fields = {"topology_name": card.topology, "chips_per_host_bounds": (1, 1, 1)}
        return topologies.get_topology_desc(platform="tpu", **fields).devices[0]
    fields = {"platform": "cuda", "target_config": card.target_config, "topology": "1x1x1"}
    return topologies.get_topology_desc("cuda:1x1x1", **fields).devices[0]


def report(program, card: Card, folder: Path | None) -> dict:
    """Compile a program and return what it is made of."""
    from compiled_programs import badly_taken, bytes_moved, calls
    from operations import matrix_operations

    started = time.perf_counter()
    traced = program.function.trace(*program.arguments)
    operations = matrix_operations(traced.jaxpr)
    compiled = traced.lower().compile()
    text, memory = compiled.as_text(), compiled.memory_analysis()
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{program.name}.txt").write_text(text)
    moved = bytes_moved(text)
    matrix, transfers = 1000 * operations / card.peak, 1000 * moved / card.bandwidth
    bad = badly_taken(text, card.gpu.capability < (9, 0)) if card.gpu else []
    return {
        "program": program.name,
        "clips": program.clips,
        "GB": (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 1e9,
        "TFLOP": operations / 1e12,
        "GB_moved": moved / 1e9,
        "ms": max(matrix, transfers),
        "matrix_ms": matrix,
        "calls": dict(calls(text)),
        "badly_taken": bad,
        "seconds": time.perf_counter() - started,
    }


def line(found: dict) -> str:
    """Return a row of the table."""
    conv = (("Forward", "BiasActivationForward"), ("BackwardFilter",), ("BackwardInput",))
    counts = " / ".join(str(sum(found["calls"].get(f"__cudnn$conv{kind}", 0) for kind in kinds)) for kinds in conv)
    counts = counts if re.search(r"[1-9]", counts) else ""
    share = 100 * found["matrix_ms"] / found["ms"]
    return (
        f"| {found['program']} | {found['clips']} | {found['GB']:.2f} | {found['TFLOP']:.2f} | {found['GB_moved']:.1f} | "
        f"{found['ms']:.1f} | {share:.0f} % | {counts} | {len(found['badly_taken'])} |"
    )


def main() -> int:
    """Compile and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", required=True, choices=CARDS)
    parser.add_argument("--config", required=True, help="as for vreid_jax.main")
    parser.add_argument("--phases", help="some of them, with commas, and `eval` for the evaluation; default: all")
    parser.add_argument("--hlo", type=Path, help="folder for the programs")
    parser.add_argument("--results", type=Path, help="folder for what was found; what lies there is not compiled again")
    parser.add_argument("--json", action="store_true", help="one object a line instead of a table")
    flags = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"  # the accelerator is not there
    from programs import evaluation_program, training_step

    from vreid_jax.config import from_file
    from vreid_jax.errors import InputError

    try:
        config = from_file(flags.config)
    except InputError as error:
        parser.error(str(error))
    known = (*config.phase_order, "eval")
    chosen = tuple(flags.phases.split(",")) if flags.phases else known
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f"there is no phase {unknown[0]!r}; they are {', '.join(known)}")
    card = CARDS[flags.device]
    try:
        device = device_of(card)
    except Exception as error:  # what a missing compiler raises differs from version to version
        parser.error(
            f"this JAX cannot compile for {flags.device} ({error}); install jax[{'cuda12' if card.gpu else 'tpu'}]"
        )
    make = {
        f"{config.system}_{name}_train": functools.partial(training_step, config, name, device, dtype=card.dtype)
        for name in known[:-1]
        if name in chosen
    }
    for name in config.evaluation.streams if "eval" in chosen else ():
        make[f"{config.system}_{name}_eval"] = functools.partial(
            evaluation_program, config, name, device, dtype=card.dtype
        )
    if not flags.json:
        print(f"{flags.device}, {card.dtype}: compiled, not run\n")
        print(
            "| program | clips | GB | TFLOP | GB moved | ms by roofline | matrix | cuDNN forward / filter / input | bad |"
        )
        print("|---|---|---|---|---|---|---|---|---|", flush=True)
    bad = []
    for name, program in make.items():
        file = flags.results / f"{flags.device}_{name}.json" if flags.results else None
        found = json.loads(file.read_text()) if file and file.exists() else report(program(), card, flags.hlo)
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found))
        bad += [f"{found['program']}: {sentence}" for sentence in found["badly_taken"]]
        print(json.dumps({"device": flags.device, **found}) if flags.json else line(found), flush=True)
    if not flags.json:
        print(*(["", *bad] if bad else []), sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
