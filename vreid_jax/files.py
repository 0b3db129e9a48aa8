"""Files and folders that appear in one piece, locks, and readable errors where the system refuses.

Whoever looks sees all of a file or nothing, and a failure leaves nothing. What a process that is killed leaves is told
from what another still writes by a lock, and can be removed.
"""

import contextlib
import glob
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import filelock

from vreid_jax.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TOKEN = 4  # bytes, by which the names of unfinished files differ
YOUNG = 1.0  # seconds in which an unfinished file may not be locked yet
UNFINISHED = ".partial"  # how files end that a killed process may leave; their names begin with a dot

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new file beside `path` to write to, which replaces `path` when the block ends.

    It gets the permissions of any new file, whatever the writer sets. Where `path` is a symbolic link, the link stays, and
    what it leads to is replaced.

    Raises:
      InputError: when the system refuses.
    """
    target = Path(os.path.realpath(path))
    half = _beside(target)
    try:
        half.touch(exist_ok=False)
        mode = half.stat().st_mode & 0o777
        with _marked_as_written(half):
            yield half
            half.chmod(mode)
            os.replace(half, target)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # it has replaced `target`, or was never made
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
    new_parents = [parent for parent in path.parents if not os.path.lexists(parent)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.mkdir()
        with _marked_as_written(half):
            yield half
            os.replace(half, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
        with contextlib.suppress(OSError):  # it holds the folder, or what somebody else put there
            for parent in new_parents:
                parent.rmdir()


def _beside(path: Path) -> Path:
    """Return the name of a new unfinished file or folder; those that killed writers of `path` have left are removed."""
    remove_unfinished_of(path)
    return path.with_name(f".{path.name}.{secrets.token_hex(TOKEN)}{UNFINISHED}")


@contextlib.contextmanager
def _marked_as_written(half: Path) -> Iterator[None]:
    """Hold a lock on an unfinished file or folder, which the system lets go of however the process ends."""
    file = os.open(half, os.O_RDONLY) if fcntl else None
    try:
        if file is not None and fcntl:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        if file is not None:
            os.close(file)


def remove_unfinished(folder: Path) -> None:
    """Remove, in a folder and below it, the unfinished files and folders of processes that are gone."""
    for half in sorted(folder.rglob(f".*{UNFINISHED}")):
        _remove_if_left(half)


def remove_unfinished_of(path: Path) -> None:
    """Remove what killed writers of one file or folder have left beside it, and so beside what a link leads to."""
    path = Path(os.path.realpath(path))
    for half in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 2 * TOKEN}{UNFINISHED}"):
        _remove_if_left(half)


def _remove_if_left(half: Path) -> None:
    """Remove an unfinished file or folder unless a process still writes it, or has only just made it."""
    if not fcntl:
        return
    with contextlib.suppress(OSError):  # somebody still writes it, or removes it too
        if abs(time.time() - half.stat().st_mtime) < YOUNG:
            return
        file = os.open(half, os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(half) if half.is_dir() else half.unlink()
        finally:
            os.close(file)


@contextlib.contextmanager
def only_process(lock: Path, taken: str, *, keep: bool = True, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a lock file while the block runs; it vanishes with the process that holds it, however that ends.

    Without `keep` the file is removed at the end. For so many `wait_seconds` another process may still hold it.

    Raises:
      InputError: with the sentence `taken` when another process of this machine holds it, or it cannot be written.
    """
    held = filelock.FileLock(lock)
    try:
        held.acquire(timeout=wait_seconds, blocking=wait_seconds > 0)
    except filelock.Timeout as error:
        raise InputError(taken) from error
    except NotImplementedError:  # a file system without locks
        pass
    except OSError as error:
        raise InputError(f"cannot write {lock}: {error.strerror or error}") from error
    try:
        yield
    finally:
        if not keep:
            lock.unlink(missing_ok=True)
        held.release()


def check_readable(path: Path) -> None:
    """Raise `InputError` if the file cannot be opened."""
    open_regular(path).close()


def open_regular(path: str | os.PathLike) -> BufferedReader:
    """Open a file to read; unlike `open` it never waits, as opening a named pipe does until somebody writes to it.

    Raises:
      InputError: when it cannot be opened, or is a folder, a named pipe, a socket or a device.
    """
    try:
        opened = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    except (OSError, ValueError) as error:  # the latter: a NUL, or a name that the file system cannot have
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise InputError(f"{path} cannot be read: it is not a regular file but a pipe or a device")
    return opened


def read_regular(path: str | os.PathLike) -> bytes:
    """Return the content of a file; `InputError` as `open_regular`."""
    with open_regular(path) as opened:
        try:
            return opened.read()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def is_address(text: str | os.PathLike) -> bool:
    """Return whether a text is an address such as `s3://bucket/folder` rather than a path."""
    return isinstance(text, str) and bool(_SCHEME.match(text))


def given_path(text: str | os.PathLike) -> Path:
    """Return a path as a person gave it, with `~` expanded; there may or may not be something at it.

    Raises:
      InputError: when nothing can be there: a user that does not exist, a name that is too long or not UTF-8, or a folder
        that may not be entered.
    """
    shown = os.fspath(text)
    if not shown:
        raise InputError("a path is empty: name a file or a folder")
    try:
        path = Path(text).expanduser()
        str(path).encode()  # a gallery, and JSON, state paths as text
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except RuntimeError as error:
        raise InputError(f"the path {shown} names a user who does not exist") from error
    except (ValueError, OSError) as error:  # the former: a NUL, or bytes that are not UTF-8
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else getattr(error, "strerror", None) or error
        raise InputError(f"the path {shown!r} cannot be used: {reason}") from error
    return path
