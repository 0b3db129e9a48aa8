"""What the parts share: rows that are written at once, programs compiled side by side, times of what runs on a device."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Run:
    """One part in progress.

    Attributes:
      part: its name.
      file: where rows go, one JSON object a line.
      ends: when its time is over, in seconds of `time.monotonic`.
      smoke: everything tiny, to see that it runs.
    """

    part: str
    file: Path
    ends: float
    smoke: bool

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.ends - time.monotonic()

    def write(self, case: str, **values) -> None:
        """Append a row."""
        with self.file.open("a") as out:
            out.write(json.dumps({"part": self.part, "case": case, **values}) + "\n")

    @contextlib.contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Turn whatever goes wrong in the block into a row; the part goes on."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            sentence = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            self.write(name, error=f"{type(error).__name__}: {sentence}")


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled program, and the seconds of tracing and of XLA."""

    program: Any
    trace: float
    xla: float


CUBLAS: dict[str, Any] = {"xla_gpu_enable_triton_gemm": False}
"""For GPUs: matrix products by cuBLAS alone. Tuning XLA's own takes most of the time of compilation, and fusing them has
ended the process (jaxlib 0.11.2)."""
UNTUNED: dict[str, Any] = {**CUBLAS, "xla_gpu_autotune_level": 0}
"""For GPUs: whichever algorithm comes first, where only the result counts."""


def compile_all(
    run: Run, jobs: Mapping[str, Callable[[], Any]], share: float = 0.6, on_gpu: dict[str, Any] | None = None
) -> dict[str, Compiled]:
    """Compile programs side by side, and return those that are done within a share of the part's time.

    One that fails or is not done becomes a row.

    Args:
      run: the part.
      jobs: for each case what traces and lowers its program.
      share: of the time left.
      on_gpu: options of XLA on an NVIDIA GPU.
    """
    ends = time.monotonic() + share * run.left
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    found: dict[str, tuple[Future, float]] = {}

    # Machine code that is not optimised compiles several times faster.
    options = {"xla_backend_optimization_level": 0} if run.smoke else {}
    options |= (on_gpu or {}) if jax.devices()[0].platform == "gpu" else {}

    def compiled(lowered) -> tuple[Any, float]:
        started = time.perf_counter()
        return lowered.compile(compiler_options=options or None), time.perf_counter() - started

    for name, lower in jobs.items():
        if time.monotonic() > ends:
            run.write(name, error="no time left to trace it")
            continue
        with run.case(name):
            started = time.perf_counter()
            lowered = lower()
            found[name] = pool.submit(compiled, lowered), time.perf_counter() - started
    wait([future for future, _ in found.values()], max(ends - time.monotonic(), 0))
    pool.shutdown(wait=False, cancel_futures=True)
    done = {}
    for name, (future, trace) in found.items():
        with run.case(name):
            if not future.done() or future.cancelled():
                raise TimeoutError(f"not compiled after {share * 100:.0f} % of the time of this part")
            program, xla = future.result()
            done[name] = Compiled(program, trace, xla)
    return done


def median_ms(call: Callable[[], Any], seconds: float = 0.3, turns: int = 5) -> float:
    """Return the milliseconds of a call: the median over turns of as many calls one after the other as take a while."""
    jax.block_until_ready(call())
    started = time.perf_counter()
    jax.block_until_ready(call())
    calls = max(1, min(100, int(seconds / turns / max(time.perf_counter() - started, 1e-6))))
    times = []
    for _ in range(turns):
        started = time.perf_counter()
        result = None
        for _ in range(calls):
            result = call()
        jax.block_until_ready(result)
        times.append((time.perf_counter() - started) / calls)
    return 1000 * statistics.median(times)
