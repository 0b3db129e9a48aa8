"""A pure function applied to many items by several processes, in order."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from vreid_jax.errors import InputError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

FEWEST = 64  # items for each process; fewer are done before it has started
FEWEST_READ = 512  # likewise, of tracklets whose pictures are read and checked
# The pools of the standard library do not serve: a forked process can hang on a lock that a thread of JAX or OpenCV
# held, and a spawned one runs the caller's script again, which builds the dataset again unless it is guarded.
_WORK = "from vreid_jax.datasets.processes import work; work()"


def in_order(
    function: Callable[[_Item], _Result], items: Sequence[_Item], processes: int | None = None, fewest: int = FEWEST
) -> Iterator[_Result]:
    """Yield `function(item)` for each item, in order.

    Args:
      function: a pure function that can be pickled, as its items and results.
      items: what to apply it to.
      processes: how many processes do the work; with 1, the caller does it. None is one for each core that this process
        may use, and fewer where there is little to do.
      fewest: items for which a process is worth starting.

    Raises:
      InputError: the first that the function raises, in the order of the items.
      RuntimeError: when a process ends early; it has written the reason to stderr.
    """
    if processes is None:
        processes = min(cores(), len(items) // fewest)
    if processes < 2 or not sys.executable:
        yield from map(function, items)
        return
    command, pipe = [sys.executable, "-P", "-c", _WORK], subprocess.PIPE
    with contextlib.ExitStack() as stack:
        workers = []
        for _ in range(processes):
            worker = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment()))
            stack.callback(worker.kill)  # before it is waited for
            workers.append(worker)
        for first, worker in enumerate(workers):
            with worker.stdin as job:
                pickle.dump((function, items[first::processes]), job)
        for number in range(len(items)):
            worker = workers[number % processes]
            try:
                result = pickle.load(worker.stdout)
            except EOFError:
                raise RuntimeError(f"a process of a build ended with status {worker.wait()}") from None
            if isinstance(result, InputError):
                raise result
            yield result


def work() -> None:
    """Read a function and items from stdin, and write its results to stdout: what each of the processes does."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller ends the processes
    cv2.setNumThreads(1)
    function, items = pickle.load(sys.stdin.buffer)
    try:
        for item in items:
            try:
                result = function(item)
            except InputError as error:
                result = error
            pickle.dump(result, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(1)  # the caller is gone


def environment() -> dict[str, str]:
    """Return the environment of a process that finds its packages where this one does, `sys.path` being what it is now."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
