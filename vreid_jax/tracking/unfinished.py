"""What a run of tracking has written so far, in a folder beside its output, so that the next call goes on from there."""

import contextlib
import glob
import itertools
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vreid_jax.errors import InputError
from vreid_jax.files import UNFINISHED, atomic_file, given_path, only_process, read_regular
from vreid_jax.json_files import json_or_none
from vreid_jax.tracking.association import Row

log = logging.getLogger(__name__)

_JOB, _LOCK, _STATE, _ROWS = "job.json", ".lock", "state.json", "rows.txt"


def check_new(path: str | os.PathLike, what: str) -> Path:
    """Return the path of a file that is to be written; `InputError` when it exists or its folder does not."""
    file = given_path(path)
    if os.path.lexists(file):
        raise InputError(f"{file} exists already: name another file for {what}, or remove it")
    if not file.absolute().parent.is_dir():
        raise InputError(f"the folder of {file} does not exist")
    return file


class Unfinished:
    """The rows that are certain, and the state at some frame, from which they can be continued.

    Rows are appended as they come. The state is written now and then, with the length of the rows at that moment: what was
    appended later is cut off when a run goes on.
    """

    def __init__(self, folder: Path):
        """Take over what lies in `folder`."""
        self._folder = folder
        state = self._read()
        self.frame: int = state["frame"] if state else 0
        self.written: int = state["rows"] if state else 0
        self.tracker: dict[str, Any] | None = state["tracker"] if state else None
        self._file = open(folder / _ROWS, "a+b")  # noqa: SIM115 closed by `close`
        self._file.truncate(state["bytes"] if state else 0)
        self._file.seek(0, os.SEEK_END)  # `truncate` does not move the position, which `save` notes as the length

    def append(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        self._file.write("".join(map(as_line, rows)).encode())
        self.written += len(rows)

    def sync(self) -> None:
        """See that the rows are on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def save(self, frame: int, tracker: dict[str, Any]) -> None:
        """Note that everything up to `frame` is done, and the state of the tracker after it."""
        self.sync()
        state = {"frame": frame, "rows": self.written, "bytes": self._file.tell(), "tracker": tracker}
        with atomic_file(self._folder / _STATE) as half:
            half.write_text(json.dumps(state))

    def finish(self, out: Path) -> None:
        """Write the rows to `out`, which appears in one piece."""
        self._file.flush()
        with atomic_file(out) as half:
            shutil.copyfile(self._folder / _ROWS, half)

    def close(self) -> None:
        """Close the file of the rows."""
        self._file.close()

    def _read(self) -> dict[str, Any] | None:
        """Return the state, None where there is none that its rows agree with."""
        try:
            state = json_or_none(read_regular(self._folder / _STATE))
            size = (self._folder / _ROWS).stat().st_size
        except (InputError, OSError):
            return None
        whole = isinstance(state, dict) and set(state) == {"frame", "rows", "bytes", "tracker"}
        return state if whole and isinstance(state["bytes"], int) and state["bytes"] <= size else None


def as_line(row: Row) -> str:
    """Return a row in the format of MOTChallenge."""
    return f"{row.frame},{row.track},{','.join(f'{value:.2f}' for value in row.box)},{row.score:.3f},-1,-1,-1\n"


@contextlib.contextmanager
def unfinished(out: Path, job: dict[str, Any]) -> Iterator[Unfinished]:
    """Yield what an earlier call for the same `job` has left beside `out`, or an empty one, for this process alone.

    It is removed when the block ends, and kept when the block fails and something was saved. Nothing can go on with what was
    seen of a camera: rows that a killed process has left of one are moved to a file beside `out`.

    Args:
      out: the file of tracks.
      job: what the result depends on; its `video` is text for a camera or a stream, and something else for a file.

    Raises:
      InputError: when another process writes there, or what lies there is of another job.
    """
    folder = out.with_name(f"{out.name}.parts")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; name another file") from error
    with only_process(folder / _LOCK, f"another process writes {out}: wait for it, or name another file"):
        check_new(out, "the tracks")  # the other process may just have finished
        if (folder / _STATE).exists() and _job(folder) != job:
            raise InputError(
                f"{folder} holds the beginning of other tracks (of another video, detector, model or settings): "
                "remove it, or name another file"
            )
        if _is_live(_job(folder)):
            _set_aside(folder / _ROWS, out)
        with atomic_file(folder / _JOB) as half:
            half.write_text(json.dumps(job))
        held = Unfinished(folder)
        try:
            yield held
        except BaseException:
            with contextlib.suppress(OSError):  # the disk may be full
                held.close()
            if _is_live(job) and held.written:
                log.warning("what was tracked until then is in %s", folder / _ROWS)
            elif not (folder / _STATE).exists():
                shutil.rmtree(folder, ignore_errors=True)
            raise
        held.close()
        shutil.rmtree(folder)
    for left in out.parent.glob(f".{glob.escape(out.name)}.*{UNFINISHED}"):  # by a process that was killed
        left.unlink(missing_ok=True)


def _is_live(job: Any) -> bool:
    return isinstance(job, dict) and isinstance(job.get("video"), str)


def _set_aside(rows: Path, out: Path) -> None:
    """Move the rows of a killed process to a new file beside `out`, without a last line that is not whole."""
    if not rows.exists():
        return
    with open(rows, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 4096))
        tail = file.read()
        if not file.truncate(end - len(tail) + tail.rfind(b"\n") + 1):
            return
    names = (f"{out.stem}.killed{f'-{number}' if number > 1 else ''}{out.suffix}" for number in itertools.count(1))
    aside = next(file for file in map(out.with_name, names) if not os.path.lexists(file))
    os.rename(rows, aside)
    log.warning("an earlier start for %s was killed: what it had tracked is now in %s", out, aside)


def _job(folder: Path) -> Any:
    try:
        return json_or_none(read_regular(folder / _JOB))
    except InputError:
        return None
