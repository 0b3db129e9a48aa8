"""How the process of a command is set up; a call from Python leaves its process as it is."""

import logging
import signal

from vreid_jax.errors import Terminated
from vreid_jax.runtime import setup_process


def begin(*, silent: bool = False) -> None:
    """Set up this process for one command: quiet logs, SIGTERM as Ctrl-C but for the exit code, and what makes computing fast.

    It may start the process again, so that nothing may be done before.

    Args:
      silent: keep absl quiet, too, which logs every checkpoint of a training.
    """
    setup_process(restart=True)
    logging.getLogger().setLevel(logging.WARNING)
    if silent:
        logging.disable(logging.INFO)
    signal.signal(signal.SIGTERM, _terminate)  # files that are half written are removed


def _terminate(number, frame):
    del number, frame
    raise Terminated
