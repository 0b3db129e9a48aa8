"""Joining several processes: what the environment may hold."""

import pytest

from vreid_jax.errors import InputError
from vreid_jax.runtime.processes import NAMES, join_from_environment


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("host:1234", "2", ""), "needs VREID_COORDINATOR, .*; set VREID_PROCESS_ID, too"),
        (("host:1234", "two", "0"), "VREID_NUM_PROCESSES = two and VREID_PROCESS_ID = 0 must be numbers"),
        (("host:1234", "2", "2"), "the second below the first"),
        (("host", "2", "0"), "VREID_COORDINATOR = host must be HOST:PORT"),
        ((":1234", "2", "0"), "must be HOST:PORT"),
        (("host:", "2", "0"), "must be HOST:PORT"),
    ],
)
def test_an_incomplete_or_wrong_environment_is_one_sentence(monkeypatch, values, words):
    for name, value in zip(NAMES, values, strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=words):
        join_from_environment()


def test_without_the_variables_nothing_is_joined(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("jax.distributed.initialize", lambda *_: pytest.fail("joined"))
    join_from_environment()
