"""Files and folders that appear in one piece, and readable errors where the system refuses.

Whoever looks sees all of a file or nothing, and a failure leaves nothing.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from vreid_jax.errors import InputError

UNFINISHED = ".partial"  # the ending of what a killed process may leave; such names begin with a dot


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new file beside `path` to write to, which takes the place of `path` when the block ends.

    It has the permissions of any new file, whatever the writer gives it. Raises `InputError` where the system refuses.
    """
    path = Path(path)
    half = _beside(path)
    try:
        half.touch(exist_ok=False)
        mode = half.stat().st_mode & 0o777
        yield half
        half.chmod(mode)
        os.replace(half, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # it has its place, or was never made
            half.unlink()


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A new folder beside `path`, which becomes `path` when the block ends: `path` is not there, or an empty folder.

    Raises `InputError` where the system refuses, and for the current folder, which cannot be put in place.
    """
    path = Path(os.path.realpath(path))  # a link stays one, and what it leads to becomes the folder
    if path == Path(os.path.realpath(".")):
        raise InputError(f"{path} is the current folder: name one to be made in it, or beside it")
    half = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.mkdir()
        yield half
        os.replace(half, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")


def check_readable(path: Path) -> None:
    """Raise `InputError` where the system does not let the file be read."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
