"""What a run says while it trains: metrics.jsonl, TensorBoard events and a progress bar."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from vreid_jax.files import atomic_file
from vreid_jax.json_files import parse_json
from vreid_jax.training.position import Position


class MetricsWriter:
    """Writes scalars to `metrics.jsonl`, one object a line, and to TensorBoard; only process 0 writes.

    A resumed run drops the lines behind its checkpoint, since it is about to write them again: also what a later phase
    has reported before its first step.
    """

    def __init__(self, workdir: Path, position: Position | None, tensorboard: bool):
        """Go on behind `position`, that of the checkpoint; without one, begin anew."""
        self._file = self._board = None
        if jax.process_index():
            return
        path = workdir / "metrics.jsonl"
        _keep_until(path, position)
        self._file = path.open("a")
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=position.step + 1 if position else 0)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Add one line: `step` and the values; a number that is not finite, which JSON does not know, is null there."""
        if self._file is None:
            return
        try:
            self._file.write(json.dumps({"step": step, **_finite(values)}, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(f"cannot write {self._file.name}: {error.strerror or error}") from error
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the files."""
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a `metrics.jsonl`: `step`, and texts and finite numbers; none where there is no such file."""
    return [
        {name: value for name, value in values.items() if isinstance(value, str) or _is_number(value)}
        for _, values in _whole_lines(path)
    ]


def _whole_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Iterate over the lines of a file, with what they hold; a killed run may leave half a line, which is left out."""
    text = path.read_bytes().decode("utf-8", errors="replace") if path.is_file() else ""
    for line in text.split("\n")[:-1]:
        try:
            yield line, parse_json(line, {"step": int})
        except ValueError:
            continue


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _keep_until(path: Path, position: Position | None) -> None:
    def is_kept(values: dict[str, Any]) -> bool:
        if position is None:
            return False
        step, phase = values["step"], values.get("phase", position.phase)
        return step < position.step or (step, phase) == (position.step, position.phase)

    if path.exists():
        with atomic_file(path) as half:
            half.write_text("".join(f"{line}\n" for line, values in _whole_lines(path) if is_kept(values)))


class DeferredMetrics:
    """The metrics of the steps of a phase, fetched one interval late, so that the device never waits for the log.

    The progress bar counts the steps whose values have come back, not those that were only asked for. Use it as a
    context; it closes the bar.
    """

    def __init__(
        self, writer: MetricsWriter, position: Position, total_steps: int, *, every_steps: int, progress: bool
    ):
        """Begin at `position` of a phase of `total_steps`; every `every_steps`-th step is written."""
        self._writer, self._every, self._phase = writer, every_steps, position.phase
        self._before = position.steps_before
        self._pending: list[tuple[int, int, dict]] = []
        self._last_step, self._last_time = position.step, time.perf_counter()
        self._bar = tqdm(
            total=total_steps,
            initial=position.phase_step,
            desc=position.phase,
            unit="step",
            disable=not progress or jax.process_index() > 0,
            mininterval=0.5,
        )
        self._bar.set_postfix_str("compiling")

    def __enter__(self) -> "DeferredMetrics":
        return self

    def __exit__(self, *error) -> None:
        self._bar.close()

    def add(self, step: int, clips: int, values: dict[str, jax.Array]) -> None:
        """Take the values of a step that was dispatched, over so many clips, and fetch those of an interval ago."""
        self._pending.append((step, clips, values))
        if self._is_logged(step):
            self._fetch(len(self._pending) - self._every)

    def settle(self) -> None:
        """Fetch everything.

        Raises:
          Diverged: for the first loss that is not finite; `add` likewise.
        """
        self._fetch(len(self._pending))

    def _is_logged(self, step: int) -> bool:
        return (step - self._before) % self._every == 0

    def _fetch(self, count: int) -> None:
        """Fetch the oldest `count` steps, check them all, write those that are logged and the newest."""
        if count <= 0:  # a save in the middle of an interval has fetched its steps already
            return
        fetched = jax.device_get(self._pending[:count])
        del self._pending[:count]
        for step, _, values in fetched:
            if not math.isfinite(values["loss"]):
                raise Diverged(f"the loss is {values['loss']}", step)
        newest, clips, values = fetched[-1]
        now = time.perf_counter()
        rate = clips * (newest - self._last_step) / max(now - self._last_time, 1e-9)
        self._last_step, self._last_time = newest, now
        for step, _, metrics in fetched:
            if self._is_logged(step) or step == newest:
                numbers = {name: float(value) for name, value in metrics.items()}
                self._writer.write(step, {"phase": self._phase, **numbers, "clips_per_second": rate})
        self._bar.set_postfix_str(f"loss {values['loss']:.3f}, {rate:.0f} clips/s", refresh=False)
        self._bar.update(newest - self._before - self._bar.n)


class Diverged(Exception):
    """A number of a step is not finite; carries what, and the step."""

    def __init__(self, what: str, step: int):
        super().__init__(what)
        self.what, self.step = what, step
