"""The server in the main thread: Ctrl-C is its usual end, SIGTERM ends it as it ends every command."""

import os
import signal
import threading
import urllib.request

import pytest

from vreid_jax.errors import Terminated

pytest.importorskip("uvicorn")


def terminate(number, frame):
    raise Terminated


@pytest.fixture
def handlers():
    """Those of a command."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, terminate)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def serve_until(number, gallery):
    from vreid_jax.serving.address import Address
    from vreid_jax.serving.server import serve
    from vreid_jax.serving.service import Options

    def stop_when_it_answers(address):
        def ask():
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert answer.status == 200
            os.kill(os.getpid(), number)

        threading.Thread(target=ask, daemon=True).start()

    return serve(Options(galleries=[str(gallery)], address=Address(port=0)), stop_when_it_answers)


def test_ctrl_c_is_the_usual_end(town, handlers):
    (north, _), _ = town
    served = serve_until(signal.SIGINT, north)
    assert served == {"tracklets": 5, "audit": f"{north}.audit.jsonl"}


def test_sigterm_ends_the_server_as_every_command(town, handlers):
    (north, _), _ = town
    with pytest.raises(Terminated):
        serve_until(signal.SIGTERM, north)
