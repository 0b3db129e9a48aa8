"""The exceptions that speak to the user rather than to the programmer."""


class InputError(ValueError):
    """Something the user gave cannot be used: one sentence that names the file or field and what to do.

    The command line prints the sentence alone and leaves with exit code 2; a library caller gets a `ValueError`.
    """


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the last checkpoint is from before that."""
