"""Processes that are killed: start one as its user would, kill its group at a moment, see how it ended."""

import contextlib
import dataclasses
import fnmatch
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 1200.0  # seconds; a job takes ten, and a machine may be busy
TICKS = os.sysconf("SC_CLK_TCK")
# What tests/conftest.py, .ci/full or JAX itself set in the process of the tests, and users have not.
NOT_OF_USERS = (
    "XLA_FLAGS",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "TF_CPP_MIN_LOG_LEVEL",
)


@dataclasses.dataclass(frozen=True)
class Moment:
    """When to kill: at a time, at a change of a file, or when something appears; one of the three is given.

    Attributes:
      cpu: seconds of processor time used, which a busy machine does not shift as it does the time on the wall.
      change: number of the change below the job's folder before which to kill.
      appears: glob pattern, relative to the folder, of something that was not there at the start.
      delay: seconds to wait after `cpu` or `appears`.
    """

    cpu: float | None = None
    change: int | None = None
    appears: str | None = None
    delay: float = 0.0

    @property
    def kind(self) -> str:
        """Which of the three it is, for tables."""
        return "time" if self.cpu is not None else "change" if self.change is not None else "appearance"


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative: a signal), what it said, its processor time, its file changes."""

    code: int
    said: str
    cpu: float
    changes: int = 0

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


def run(
    arguments: Sequence[str], folder: Path, cache: Path, moment: Moment | None = None, clock: float | None = None
) -> Ended:
    """Run `vreid` with arguments, and kill it at a moment unless it ends before.

    Args:
      arguments: those behind `vreid`.
      folder: what the job writes to.
      cache: home of the caches, where compiled programs are kept.
      moment: when to kill.
      clock: seconds by which the clock is off; it runs backwards then.

    Raises:
      TimeoutError: when the process neither ends nor is killed within the time limit.
    """
    log, count = (folder.with_name(f"{folder.name}.{suffix}") for suffix in ("log", "count"))
    count.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in NOT_OF_USERS} | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "JAX_PLATFORMS": "cpu",
        "XDG_CACHE_HOME": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # users' programs take longer to compile, and are kept
        "CRASH_FOLDER": str(folder),
        "CRASH_COUNT": str(count),
    }
    if moment and moment.change is not None:
        environment["CRASH_OPERATION"] = str(moment.change)
    if clock is not None:
        environment["CRASH_CLOCK"] = str(clock)
    command = [sys.executable, str(Path(__file__).with_name("as_user.py")), *arguments]
    before = _matches(folder, moment)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder.parent,
            env=environment,
            start_new_session=True,
        )
        try:
            cpu = _wait(process, folder, moment, before)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    said = log.read_text(errors="replace")
    return Ended(process.returncode, said, cpu, int(count.read_text()) if count.exists() else 0)


def _wait(process: subprocess.Popen, folder: Path, moment: Moment | None, before: set[Path]) -> float:
    """Return the processor time used when the process has ended or the moment to kill it has come."""
    watched = moment is not None and moment.change is None
    pause = 0.001 if watched else 0.02
    limit, cpu = time.monotonic() + LONGEST, 0.0
    while True:
        try:  # without reaping it, so that its times can still be read
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return max(cpu, _cpu(process.pid))
        except ChildProcessError:
            return cpu
        if time.monotonic() > limit:
            raise TimeoutError(f"{' '.join(process.args)} has not ended after {LONGEST:.0f} s")
        if watched:
            cpu = _cpu(process.pid)
            if (moment.cpu is not None and cpu >= moment.cpu) or _matches(folder, moment) - before:
                time.sleep(moment.delay)
                return _cpu(process.pid)
        time.sleep(pause)


def _cpu(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _matches(folder: Path, moment: Moment | None) -> set[Path]:
    """Return what the moment waits for and is there now."""
    with contextlib.suppress(OSError):  # a folder on the way has just gone
        if moment and moment.appears:
            return set(folder.glob(moment.appears))
    return set()


def draw_moments(rng: random.Random, count: int, whole: Ended, appearances: Sequence[str]) -> list[Moment]:
    """Return moments over the whole of a job, in random order.

    Half are times, one drawn from each of as many equal pieces of the processor time of the uninterrupted run; the
    others are changes of files, and appearances with up to 30 ms after them.
    """
    times = (count + 1) // 2
    moments = [
        Moment(cpu=(piece + rng.random()) * whole.cpu / times, delay=rng.uniform(0, 1 / TICKS))
        for piece in range(times)
    ]
    for number in range(count - times):
        if number % 3 == 2:
            moments.append(Moment(appears=rng.choice(appearances), delay=rng.uniform(0, 0.03)))
        else:
            moments.append(Moment(change=rng.randrange(whole.changes)))
    rng.shuffle(moments)
    return moments


def stage(before: Mapping[str, int], after: Mapping[str, int], stages: Sequence[tuple[str, str]]) -> str:
    """Return what a process was at, from what it had changed by then.

    Args:
      before: times of modification by path, when it started.
      after: likewise when it was killed.
      stages: name of a stage, and the pattern of a path that only this stage and later ones change; the last one first.
    """
    changed = [path for path, modified in after.items() if before.get(path) != modified]
    return next((name for name, pattern in stages if fnmatch.filter(changed, pattern)), "imports, before any change")


def times_of_modification(folder: Path) -> dict[str, int]:
    """Return the time of modification of everything below a folder, by relative path."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            found[path.relative_to(folder).as_posix()] = path.lstat().st_mtime_ns
    return found
