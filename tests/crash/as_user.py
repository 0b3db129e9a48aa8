"""`vreid` as its users run it, on the toy system: `python as_user.py COMMAND …`.

The toy's model is registered first, and a part of a gallery is small, so that a small gallery has several. Variables:

* `CRASH_FOLDER`: changes to what lies below this folder are counted; with `CRASH_OPERATION=N` the process group is
  killed just before the N-th (from 0), else `CRASH_COUNT` names the file that gets the count at the end.
* `CRASH_CLOCK`: seconds by which the clock is off when the process starts; from there it runs backwards.
"""

import atexit
import itertools
import os
import signal
import sys
import time
from pathlib import Path

from vreid_jax.runtime import command_process

TRACKLETS_IN_A_PART = 3
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate")
DIRECTORY = {"os.remove": 1, "os.rmdir": 1, "os.mkdir": 2}  # which argument of an event is a folder's descriptor


def changed_path(event: str, arguments: tuple) -> str:
    """Return the path that an audited event is about to change, empty for any other event."""
    if event == "open":
        path, _, flags = arguments
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return os.fsdecode(path) if writes and not isinstance(path, int) else ""
    if event not in CHANGES or isinstance(arguments[0], int):
        return ""
    path = os.fsdecode(arguments[0])
    descriptor = arguments[DIRECTORY[event]] if event in DIRECTORY else -1
    if descriptor != -1:  # how shutil.rmtree goes through a folder
        path = os.path.join(os.readlink(f"/proc/self/fd/{descriptor}"), path)
    return path


def count_changes(folder: str, kill_at: int | None, report: str | None) -> None:
    """Count what changes below `folder`, and kill the process group before change number `kill_at`."""
    counter, seen = itertools.count(), []

    def hook(event: str, arguments: tuple) -> None:
        if event != "open" and event not in CHANGES:
            return
        path = changed_path(event, arguments)
        if not path.startswith(folder):
            return
        number = next(counter)
        seen.append(number)
        if number == kill_at:
            os.write(2, f"killed before {event} of {path}\n".encode())
            os.killpg(0, signal.SIGKILL)

    sys.addaudithook(hook)
    if report:
        atexit.register(lambda: Path(report).write_text(str(len(seen))))


def turn_clock_back(offset: float) -> None:
    """Let `time.time` begin `offset` seconds off and run backwards."""
    start, since = time.time() + offset, time.monotonic
    begun = since()
    time.time = lambda: start - (since() - begun)
    time.time_ns = lambda: int(time.time() * 1e9)


def main() -> int:
    """Set up as a command does, then as the variables say, and run the command."""
    command_process.begin(silent=sys.argv[1:2] == ["train"])
    if clock := os.environ.get("CRASH_CLOCK"):
        turn_clock_back(float(clock))
    if folder := os.environ.get("CRASH_FOLDER"):
        at = os.environ.get("CRASH_OPERATION")
        count_changes(folder, None if at is None else int(at), os.environ.get("CRASH_COUNT"))
    from vreid_jax.cli import command

    if sys.argv[1] != "train":  # which reads the configuration file itself
        sys.path.insert(0, str(Path(__file__).parents[1]))
        import toy_config  # noqa: F401  it registers its model
    if sys.argv[1] == "embed":
        from vreid_jax.search import embedding

        embedding.embed_gallery.__kwdefaults__["chunk"] = TRACKLETS_IN_A_PART
    return command.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
