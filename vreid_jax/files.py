"""Files and folders that appear in one piece, locks, and readable errors where the system refuses.

Whoever looks sees all of a file or nothing, and a failure leaves nothing. What a process that is killed leaves is told
from what another still writes by a lock, and can be removed.
"""

import contextlib
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock

from vreid_jax.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TOKEN = 4  # bytes, by which the names of unfinished files differ
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
        with _marked_as_written(half):
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
        with _marked_as_written(half):
            yield half
        os.replace(half, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _beside(path: Path) -> Path:
    """Return the name of a new unfinished file or folder; those that killed writers of `path` have left are removed."""
    for earlier in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 2 * TOKEN}{UNFINISHED}"):
        _remove_if_left(earlier)
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


def _remove_if_left(half: Path) -> None:
    """Remove an unfinished file or folder unless a process still writes it."""
    if not fcntl:
        return
    with contextlib.suppress(OSError):  # somebody still writes it, or removes it too
        file = os.open(half, os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(half) if half.is_dir() else half.unlink()
        finally:
            os.close(file)


@contextlib.contextmanager
def only_writer(lock: Path, busy: str, *, keep: bool = True) -> Iterator[None]:
    """Hold the lock file `lock` while the block runs; without `keep` it is removed behind it.

    Raises:
      InputError: with the sentence `busy` when another process of this machine holds it, or when the system refuses.
    """
    held = filelock.FileLock(lock)
    try:
        held.acquire(blocking=False)
    except filelock.Timeout as error:
        raise InputError(busy) from error
    except NotImplementedError:  # a file system without locks
        pass
    except OSError as error:
        raise InputError(f"cannot write to {lock.parent}: {error.strerror or error}; use another folder") from error
    try:
        yield
    finally:
        if not keep:
            lock.unlink(missing_ok=True)
        held.release()


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path in which a leading `~` or `~user` is that home; `InputError` where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path} names a home folder that is not there: {error}") from error


def check_readable(path: Path) -> None:
    """Raise `InputError` if the file cannot be opened."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
