"""Files that cannot be opened: said before a reader says it in words of its own."""

from pathlib import Path

from vreid_jax.errors import InputError


def check_readable(path: Path) -> None:
    """Raise `InputError` where the system does not let the file be read."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
