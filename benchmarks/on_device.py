"""Check and measure the library on the accelerator at hand, in minutes and without a network; run it by `on_device.sh`.

    benchmarks/on_device.sh [--out=device_results] [--parts=machine,parity] [--minutes=5] [--smoke]

Each part runs in its own process within its own time, the most telling first; one that fails or takes too long is
recorded, and the rest goes on. After each part `results.jsonl` (one row a line), `results.md` (tables for
docs/benchmarks.md) and `log.txt` in the output folder are complete so far. `--smoke` makes everything tiny, to see that it
runs from end to end on a processor.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
# name: (module and function in device_parts, seconds, title)
PARTS = {
    "machine": ("machine.measure", 45, "The device"),
    "systems": ("systems.measure", 190, "Training steps and inference at the size of MARS"),
    "parity": ("parity.measure", 60, "Largest error relative to the largest value, against PyTorch on a CPU, float32"),
    "convolutions": ("convolutions.measure", 70, "Forms of convolutions and pools, bfloat16, milliseconds"),
    "search": ("search.measure", 40, "Retrieval at the size of MARS"),
    "demonstration": ("demonstration.measure", 60, "The demonstration"),
    "giant": ("convolutions.measure_giant", 30, "XLA's own convolutions with dilated kernels over time, milliseconds"),
    "before": ("systems.measure_before", 60, "M3D with XLA's own 3-D convolutions"),
    "torch": ("torch_frames.measure", 60, "PyTorch, torch.compile, channels last"),
}
SMOKE_SECONDS = 1200


def run_part(name: str, out: Path, ends: float, smoke: bool, program: str = "", beside: Path | None = None) -> None:
    """Run one part in this process.

    Args:
      name: of `PARTS`.
      out: folder of the results.
      ends: when its time is over, in seconds of `time.monotonic`, which all processes of a machine share.
      smoke: everything tiny.
      program: of the part `systems`, the one that this process measures.
      beside: folder by which such processes wait for each other.
    """
    from vreid_jax.runtime import setup_process

    setup_process()
    from device_parts.measuring import Run

    module, function = PARTS[name][0].split(".")
    run = Run(name, out / "results.jsonl", ends, smoke)
    code = 1
    try:
        part = importlib.import_module(f"device_parts.{module}")
        if program:
            part.measure_program(run, program, beside)
        else:
            getattr(part, function)(run)
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # at once: a program that takes too long may still be compiling


def start_part(name: str, out: Path, seconds: float, smoke: bool) -> None:
    """Run one part in a process of its own and stop it, with all that it started, when its time is over."""
    started = time.monotonic()
    command = [sys.executable, __file__, f"--part={name}", f"--out={out}", f"--ends={started + seconds}"]
    command += ["--smoke"] if smoke else []
    with (out / "log.txt").open("a") as log:
        log.write(f"\n=== {name} ===\n")
        log.flush()
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(seconds + 10)
            failed = f"left with exit code {code}; see log.txt" if code else ""
        except subprocess.TimeoutExpired:
            failed = f"not done after {seconds:.0f} s"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it has left running
        process.wait()
    row = {"part": name, "case": "all", "seconds": round(time.monotonic() - started, 1)}
    if failed:
        row["error"] = failed
    with (out / "results.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(f"{name}: {row['seconds']:.0f} s{', ' if failed else ''}{failed}", flush=True)


def start_data() -> subprocess.Popen:
    """Build the data of the demonstration on the processor while other parts run."""
    command = "from vreid_jax.datasets import load_builder; load_builder('walkers/demo', progress=False)"
    null = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-c", command], start_new_session=True, stdout=null, stderr=null)


def tables(rows: list[dict]) -> str:
    """Return the rows as Markdown: a table for each part, and below it what failed."""
    lines = []
    for name, (_, _, title) in PARTS.items():
        own = [row for row in rows if row["part"] == name]
        if not own:
            continue
        lines += [f"## {title}", ""]
        measured = [row for row in own if "error" not in row and row["case"] != "all"]
        groups: dict[tuple, list[dict]] = {}
        for row in measured:
            what = row["case"].rsplit(", ", 1)[-1] if name in ("convolutions", "systems", "before") else ""
            groups.setdefault((what,) if name != "machine" else tuple(row), []).append(row)
        for group in groups.values():
            columns = list(dict.fromkeys(key for row in group for key in row if key != "part"))
            columns.sort(key=lambda column: column == "apart")
            lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
            lines += [f"| {' | '.join(str(row.get(column, '')) for column in columns)} |" for row in group]
            lines.append("")
        lines += [f"* {row['case']}: {row['error']}" for row in own if "error" in row]
        lines += [f"\n{row['seconds']} s in all." for row in own if row["case"] == "all"]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run the parts that are asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("device_results"), help="folder of the results")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of them, with commas; default: all")
    parser.add_argument("--minutes", type=float, default=5.0, help="for all parts together")
    parser.add_argument("--smoke", action="store_true", help="everything tiny")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--ends", type=float, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--program", default="", help=argparse.SUPPRESS)
    parser.add_argument("--beside", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.part:
        run_part(flags.part, flags.out, flags.ends, flags.smoke, flags.program, flags.beside)
        return
    names = flags.parts.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    out = flags.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.jsonl"
    if results.exists():
        parser.error(f"{results} exists; give another folder with --out")
    results.touch()
    ends = time.monotonic() + 60 * flags.minutes
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share the device
    data = start_data() if "demonstration" in names and not flags.smoke else None
    for name in names:
        seconds = SMOKE_SECONDS if flags.smoke else min(PARTS[name][1], ends - time.monotonic() - 10)
        if seconds < 15:
            print(f"{name}: no time left", flush=True)
            continue
        start_part(name, out, seconds, flags.smoke)
        rows = [json.loads(line) for line in results.read_text().splitlines()]
        (out / "results.md").write_text(tables(rows))
    if data and data.poll() is None:
        os.killpg(data.pid, signal.SIGTERM)


if __name__ == "__main__":
    main()
