"""The judge: reads one changed input within limits, and says whether the outcome is allowed."""

import contextlib
import dataclasses
import os
import random
import resource
import shutil
import signal
import stat
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.errors import InputError

CPU_SECONDS = 20
WALL_SECONDS = 90  # for what waits instead of computing
MEMORY = 4 << 30  # bytes of address space beyond what the process has


@dataclasses.dataclass(frozen=True)
class Reader:
    """Something that reads.

    Attributes:
      name: what it is called in reports.
      write: puts good input into a new folder, once.
      change: changes a copy of it in a way that depends on the generator, and returns what it did, and for input that
        is not a file the input itself.
      read: reads the folder (and that input), and returns a value that can be compared.
      exact: whether the result must be that of the good input, for formats that find all damage.
      share: how often it is tried, in relation to others.
    """

    name: str
    write: Callable[[Path], None]
    change: Callable[[random.Random, Path], tuple[str, Any]]
    read: Callable[[Path, Any], Any]
    exact: bool = False
    share: float = 1.0


class Another(str):
    """What was done, where that makes other input rather than damage: its result need not be that of the good input."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one input: "right", "refused" or "failed", what was done to it, and what was said."""

    kind: str
    done: str
    said: str


class _Beyond(BaseException):
    """Time is up; not an Exception, which a reader might take for damage."""


class Court:
    """Tries readers on inputs of one seed; `folder` is for good inputs and copies of them."""

    def __init__(self, folder: Path, seed: int):
        self._folder, self._seed = folder, seed
        self._good: dict[str, Any] = {}

    def outcome(self, reader: Reader, number: int, keep: Path | None = None) -> Outcome:
        """Return what comes of input `number` of a reader; with `keep` the input stays there."""
        rng = random.Random(f"{self._seed}/{reader.name}/{number}")
        good = self._folder / reader.name
        if reader.name not in self._good:
            good.mkdir()
            reader.write(good)
            self._good[reader.name] = reader.read(good, None) if reader.exact else None
        copy = keep or self._folder / "copy"
        shutil.copytree(good, copy, symlinks=True)
        try:
            done, given = reader.change(rng, copy)
            return self._judged(reader, copy, done, given)
        finally:
            if not keep:
                shutil.rmtree(os.fsencode(copy))

    def _judged(self, reader: Reader, copy: Path, done: str, given: Any) -> Outcome:
        before = _content(copy)
        try:
            with _elsewhere(self._folder), _limits(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a user reads them
                value = reader.read(copy, given)
        except InputError as error:
            kind, said = _refusal(str(error))
        except _Beyond as error:
            kind, said = "failed", str(error)
        except (Exception, SystemExit) as error:
            kind, said = "failed", f"{type(error).__name__}: {str(error)[:300]}{_place(error)}"
        else:
            equal = not reader.exact or isinstance(done, Another) or same(value, self._good[reader.name])
            kind, said = ("right", "") if equal else ("failed", "a wrong result without a word")
        if _content(copy) != before:
            kind, said = "failed", f"files of the input were changed or added; {said}"
        return Outcome(kind, done, said)


def _refusal(message: str) -> tuple[str, str]:
    """Judge the sentence of a refusal: one line, not endless, and about something."""
    if not message.strip() or len(message.splitlines()) > 1:
        return "failed", f"the refusal is not one line: {message[:300]!r}"
    if len(message) > 2000:
        return "failed", f"the refusal has {len(message)} characters: {message[:300]!r}"
    return "refused", message


def _place(error: BaseException) -> str:
    """Return the line of the library that an exception came from."""
    found, trace = "", error.__traceback__
    while trace:
        file = trace.tb_frame.f_code.co_filename
        if "vreid_jax" in Path(file).parts and "tests" not in Path(file).parts:
            found = f" ({'/'.join(Path(file).parts[-2:])}:{trace.tb_lineno})"
        trace = trace.tb_next
    return found


@contextlib.contextmanager
def _elsewhere(folder: Path) -> Iterator[None]:
    """Make a folder, far below `folder`, the current one: a relative path may be where datasets are built."""
    scratch = folder / "scratch"
    deep = scratch / "a" / "b" / "c"
    deep.mkdir(parents=True)
    try:
        with contextlib.chdir(deep):
            yield
    finally:
        shutil.rmtree(scratch)


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """Stop the block with `_Beyond` after its time, and let it fail to allocate beyond its memory."""

    def stop(number, frame):
        del frame
        raise _Beyond(f"beyond {CPU_SECONDS} s of computing" if number == signal.SIGPROF else f"waits {WALL_SECONDS} s")

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)}
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _content(folder: Path) -> dict[bytes, tuple]:
    """Return kind and content of everything below a folder; nothing is opened that is not a file."""
    found = {}
    for above, folders, files in os.walk(os.fsencode(folder)):
        for name in (*folders, *files):
            path = os.path.join(above, name)
            mode = os.lstat(path).st_mode
            content = 0
            if stat.S_ISREG(mode):
                with open(path, "rb") as opened:
                    content = zlib.crc32(opened.read())
            found[path] = (stat.S_IFMT(mode), content)
    return found


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal: arrays by their content, NaN equal to NaN."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[name]) for name, value in a.items())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))
