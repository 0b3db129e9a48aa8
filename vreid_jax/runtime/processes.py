"""Several processes as one run, named by the environment."""

import os

import jax

from vreid_jax.errors import InputError

NAMES = ("VREID_COORDINATOR", "VREID_NUM_PROCESSES", "VREID_PROCESS_ID")


def join_from_environment() -> None:
    """Join the run of several processes that VREID_COORDINATOR, VREID_NUM_PROCESSES and VREID_PROCESS_ID describe, if any.

    Raises:
      InputError: when only some of the three are set, or a number is none.
    """
    values = [os.environ.get(name) for name in NAMES]
    if not any(values):
        return
    if not all(values):
        raise InputError(f"{' and '.join(n for n in NAMES if not os.environ.get(n))} is not set beside the others")
    coordinator, count, number = values
    if not (count.isdecimal() and number.isdecimal() and int(number) < int(count)):
        raise InputError(f"{NAMES[1]} = {count} and {NAMES[2]} = {number} must be numbers, the second below the first")
    jax.distributed.initialize(coordinator, int(count), int(number))
