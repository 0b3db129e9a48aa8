"""How the process of a command is set up; a call from Python leaves its process as it is."""

import logging
import signal
import sys

from absl import logging as absl_logging

from vreid_jax.runtime import setup_process


def begin(*, silent: bool = False) -> None:
    """Set up this process for one command: quiet logs, SIGTERM as Ctrl-C, and what makes computing fast.

    It may start the process again, so that nothing may be done before.

    Args:
      silent: keep absl quiet, too, which logs every checkpoint of a training.
    """
    setup_process(restart=True)
    logging.getLogger().setLevel(logging.WARNING)
    if silent:
        logging.disable(logging.INFO)
    _leave_errors_to_the_caller()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # files that are half written are removed


def _leave_errors_to_the_caller() -> None:
    """Keep Orbax from printing, from its threads, the tracebacks of errors that it also raises.

    A command says those in one sentence.
    """
    absl_logging.get_absl_logger().addFilter(lambda record: "orbax" not in record.pathname)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # of several writes that fail together, Orbax awaits one
    hook = sys.unraisablehook

    def unless_too_late(unraisable) -> None:
        # Of the files that Orbax reads together, one fails, and nobody waits for the others any more.
        if not (isinstance(unraisable.exc_value, RuntimeError) and str(unraisable.exc_value) == "Event loop is closed"):
            hook(unraisable)

    sys.unraisablehook = unless_too_late
