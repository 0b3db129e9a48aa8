"""What a run says while it trains: metrics.jsonl, TensorBoard events and a progress bar."""

import json
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from vreid_jax.files import atomic_file


class MetricsWriter:
    """Writes scalars to `metrics.jsonl`, one object a line, and to TensorBoard; only process 0 writes.

    A resumed run drops the lines behind its checkpoint, since it is about to write them again.
    """

    def __init__(self, workdir: Path, first_step: int, tensorboard: bool):
        self._file = self._board = None
        if jax.process_index():
            return
        path = workdir / "metrics.jsonl"
        _keep_until(path, first_step)
        self._file = path.open("a")
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=first_step + 1)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Add one line: `step` and the values."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
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


def _keep_until(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= step and line.endswith("\n"):
                kept.append(line)
        except (ValueError, KeyError):
            pass  # the half line of a killed run
    with atomic_file(path) as half:
        half.write_text("".join(kept))


def progress_bar(total: int, initial: int, description: str, show: bool) -> tqdm:
    """Return a bar over the steps of a phase, on process 0 only."""
    return tqdm(
        total=total,
        initial=initial,
        desc=description,
        unit="step",
        disable=not show or jax.process_index() > 0,
        mininterval=0.5,
    )
