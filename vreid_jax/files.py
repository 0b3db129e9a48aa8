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

UNFINISHED = ".partial"  # how files end that a killed process may leave; their names begin with a dot


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new file beside `path` to write to, which replaces `path` when the block ends.

    It gets the permissions of any new file, whatever the writer sets.

    Raises:
      InputError: when the system refuses.
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
        with contextlib.suppress(OSError):  # it has replaced `path`, or was never made
            half.unlink()


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a new folder beside `path`, which becomes `path` when the block ends; `path` is new, or an empty folder.

    Raises:
      InputError: when the system refuses, or `path` is the current folder, which cannot be replaced.
    """
    path = Path(os.path.realpath(path))  # a link stays one, and what it leads to becomes the folder
    if path == Path(os.path.realpath(".")):
        raise InputError(f"{path} is the current folder: name a new one in it or beside it")
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
    """Raise `InputError` if the file cannot be opened."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
