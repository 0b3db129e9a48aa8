import os
import signal
import threading

import pytest

from vreid_jax.errors import Interrupted
from vreid_jax.training.signals import stop_requests


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_remembered_and_stops_nothing_at_once(number):
    before = signal.getsignal(number)
    with stop_requests() as request:
        assert request.number == 0
        os.kill(os.getpid(), number)
        assert request.number == number
    assert signal.getsignal(number) is before


def test_a_second_signal_stops_at_once():
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_nothing_is_caught():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with stop_requests() as request:
            seen.append((request.number, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(0, before)]


def test_the_exit_code_tells_the_signal():
    assert Interrupted("stopped", signal.SIGTERM).exit_code == 143
