"""What the tests of tracking share."""

import functools
import itertools
import os
import signal

import pytest


@pytest.fixture
def stopped_at():
    """`stopped_at(detector, call)`: the detector, in a process that Ctrl-C stops in one of its calls, counted from 1."""

    def make(detector, call):
        calls = itertools.count(1)

        @functools.wraps(detector)  # a run goes on only with the detector of its name
        def stopped(frame):
            if next(calls) == call:
                os.kill(os.getpid(), signal.SIGINT)
            return detector(frame)

        return stopped

    return make
