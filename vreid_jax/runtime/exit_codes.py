"""The one place where a command's errors become a sentence on stderr and an exit code."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

from vreid_jax.errors import InputError, Interrupted, Terminated
from vreid_jax.runtime.command_process import sigterm_arrived


@contextlib.contextmanager
def exit_codes(program: str, interrupted: str = "interrupted") -> Iterator[None]:
    """Leave the process with one sentence and an exit code where the block fails.

    An error of any other kind is a mistake in the program and keeps its traceback.

    Args:
      program: what the sentence begins with, e.g. "vreid search".
      interrupted: the sentence after Ctrl-C.

    Raises:
      SystemExit: 2 when the input is at fault, 1 when the work failed, 130 after Ctrl-C, 143 after SIGTERM; likewise
        when a training run stopped after saving its state.
    """
    try:
        yield
    except InputError as error:
        leave(program, str(error), 2)
    except Interrupted as error:
        leave(program, str(error), error.exit_code)
    except KeyboardInterrupt as error:
        terminated = sigterm_arrived() or isinstance(error, Terminated)  # Ray raises a plain one for both signals
        leave(program, interrupted, 128 + (signal.SIGTERM if terminated else signal.SIGINT))
    except (NotImplementedError, RecursionError):  # kinds of RuntimeError that are mistakes in the program
        raise
    except (OSError, RuntimeError, MemoryError) as error:  # the disk, the device or memory, and NonFiniteLoss
        leave(program, str(error) or type(error).__name__, 1)


def leave(program: str, message: str, code: int) -> NoReturn:
    """Print the sentence to stderr and leave with the exit code."""
    print(f"{program}: {message}", file=sys.stderr, flush=True)
    sys.exit(code)
