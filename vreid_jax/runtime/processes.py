"""Joining several processes into one run, as the environment says."""

import os

import jax

from vreid_jax.errors import InputError

NAMES = ("VREID_COORDINATOR", "VREID_NUM_PROCESSES", "VREID_PROCESS_ID")


def join_from_environment() -> None:
    """Join the run that VREID_COORDINATOR, VREID_NUM_PROCESSES and VREID_PROCESS_ID describe, if any is set.

    Raises:
      InputError: when only some of the three are set, or one is not an address or a number.
    """
    values = [os.environ.get(name, "") for name in NAMES]
    if not any(values):
        return
    missing = [name for name, value in zip(NAMES, values, strict=True) if not value]
    if missing:
        raise InputError(f"a run of several processes needs {', '.join(NAMES)}; set {' and '.join(missing)}, too")
    coordinator, count, number = values
    if not (count.isdecimal() and number.isdecimal() and int(number) < int(count)):
        raise InputError(f"{NAMES[1]} = {count} and {NAMES[2]} = {number} must be numbers, the second below the first")
    host, colon, port = coordinator.rpartition(":")
    if not (host and colon and port.isdecimal()):
        raise InputError(f"{NAMES[0]} = {coordinator} must be HOST:PORT, e.g. 10.0.0.1:1234")
    jax.distributed.initialize(coordinator, int(count), int(number))
