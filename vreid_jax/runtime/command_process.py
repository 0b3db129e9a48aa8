"""How the process of a command is set up; a call from Python leaves its process as it is."""

import logging
import os
import signal
import sys

from vreid_jax.errors import Terminated
from vreid_jax.runtime import setup_process

AGAIN = 10.0  # seconds


def begin(*, silent: bool = False) -> None:
    """Set up this process for one command: quiet logs, SIGTERM as Ctrl-C but for the exit code, and what makes computing fast.

    It may start the process again, so that nothing may be done before.

    Args:
      silent: keep absl quiet, too, which logs every checkpoint of a training.
    """
    setup_process(restart=True)
    # What is wrong with a video is said in one sentence; FFmpeg, inside OpenCV, keeps to what ends a process.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "8")
    # Until it is imported, SIGTERM ends the process as the system does: an exception in the middle of an import would not.
    import jax  # noqa: F401

    logging.getLogger().setLevel(logging.WARNING)
    if silent:
        logging.disable(logging.INFO)
    _leave_errors_to_the_caller()
    signal.signal(signal.SIGTERM, _terminate)  # files that are half written are removed


def _leave_errors_to_the_caller() -> None:
    """Keep Orbax from printing, from its threads, the tracebacks of errors that it also raises.

    A command says those in one sentence.
    """
    from absl import logging as absl_logging  # here, since help does without it

    absl_logging.get_absl_logger().addFilter(lambda record: "orbax" not in record.pathname)
    logging.getLogger("asyncio").addFilter(lambda record: "exception was never retrieved" not in record.getMessage())
    hook = sys.unraisablehook

    def unless_too_late(unraisable) -> None:
        # Of the files that Orbax reads together, one fails, and nobody waits for the others any more.
        if not (isinstance(unraisable.exc_value, RuntimeError) and str(unraisable.exc_value) == "Event loop is closed"):
            hook(unraisable)

    sys.unraisablehook = unless_too_late


def _terminate(number, frame):
    """Raise `Terminated`, and again later: in a callback of the garbage collector Python only prints it."""
    del number, frame
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _terminate)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    raise Terminated


def sigterm_arrived() -> bool:
    """Return whether SIGTERM has arrived, and raise `Terminated` no more; what calls Python may have made Ctrl-C of it."""
    if not hasattr(signal, "setitimer") or signal.getsignal(signal.SIGALRM) is not _terminate:
        return False
    seconds, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    return seconds > 0
