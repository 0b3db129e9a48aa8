"""The exceptions that speak to the user rather than to the programmer."""

_LONGEST = 1600  # characters of a message


class InputError(ValueError):
    """Something the user gave cannot be used: one sentence that names the file or field and what to do.

    The command line prints the sentence alone and leaves with exit code 2; a library caller gets a `ValueError`. Names in it
    may be those of a stranger's files, and parts of it what another library says: it is put on one line, and what one does
    not read to the end is cut in the middle.
    """

    def __init__(self, message: str):
        line = " ".join(message.splitlines())
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST * 3 // 4]} … {line[-_LONGEST // 4 :]}")


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the last checkpoint is from before that."""


class Terminated(KeyboardInterrupt):
    """SIGTERM has arrived; whatever handles Ctrl-C handles it, and the exit code is 143 rather than 130."""


class Interrupted(Exception):
    """A run was asked to stop, and has; carries the exit code, 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number
