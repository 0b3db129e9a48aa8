"""SIGINT and SIGTERM ask a run to stop at the next step; a second one stops it at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from vreid_jax.errors import Terminated


class StopRequest:
    """Which signal has arrived, 0 for none."""

    number = 0


@contextlib.contextmanager
def stop_requests(request: StopRequest | None = None) -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM while the block runs, in the main thread; elsewhere nothing is caught.

    Args:
      request: where to note it; default: a new one.
    """
    request = request or StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def remember(number, frame):
        del frame
        if request.number:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        request.number = number

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
