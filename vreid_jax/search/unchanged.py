"""Files that hold people, while something is made of them: whom another process forgets meanwhile must not come back.

Whoever writes what was made of such files takes `stamps_of` them before reading, and writes within `unchanged`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from vreid_jax.errors import InputError
from vreid_jax.files import only_process
from vreid_jax.search.address import is_address
from vreid_jax.search.gallery_files import open_files

try:
    import resource
except ImportError:  # Windows
    resource = None

WAIT_SECONDS = 60.0  # for another process that holds a file
_FEW = 64  # files that any process can open beside its own

Stamp = tuple[int, int, int]
"""Inode, nanosecond of the last change, and bytes of a file."""


def stamps_of(files: Iterable[str | os.PathLike]) -> dict[Path, Stamp | None]:
    """Return what tells files of this machine from what may replace them, by their paths without links; None: not there."""
    return {path: _stamp(path) for path in _without_links(files)}


def gallery_stamps(*galleries: str | os.PathLike) -> dict[Path, Stamp | None]:
    """Return `stamps_of` the files of galleries; those in an object store, where nobody is forgotten, have none.

    Raises:
      InputError: as `open_files`.
    """
    here = [gallery for gallery in galleries if not is_address(os.fspath(gallery))]
    return stamps_of(part.place.path for gallery in here for part in open_files(gallery).parts)


@contextlib.contextmanager
def unchanged(read: Mapping[Path, Stamp | None]) -> Iterator[None]:
    """Run the block, which writes what was made of files, if they are as they were; nobody is forgotten in them meanwhile.

    Raises:
      InputError: when a file is not the one that was read, or as `held`.
    """
    with held(read):
        for file, stamp in read.items():
            if _stamp(file) != stamp:
                raise InputError(f"{file} has changed since it was read: give the same command again")
        yield


@contextlib.contextmanager
def held(files: Iterable[str | os.PathLike]) -> Iterator[None]:
    """Keep other processes of this machine from `held` files while the block runs; links stand for what they lead to.

    In a folder that this user may not write there are no locks.

    Raises:
      InputError: when another process does not let one go within `WAIT_SECONDS`.
    """
    paths = [path for path in _without_links(files) if os.access(path.parent, os.W_OK)]
    with contextlib.ExitStack() as locks:
        locks.enter_context(_room_for(len(paths)))
        for path in paths:
            taken = f"another process forgets in {path}, or writes what it has made of it: give the same command again"
            lock = path.with_name(f".{path.name}.forget.lock")
            locks.enter_context(only_process(lock, taken, keep=False, wait_seconds=WAIT_SECONDS))
        yield


def _without_links(files: Iterable[str | os.PathLike]) -> list[Path]:
    """Return real paths, each once and in one order, so that no two processes wait for each other."""
    return [Path(path) for path in sorted({os.path.realpath(file) for file in files})]


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextlib.contextmanager
def _room_for(count: int) -> Iterator[None]:
    """Let this process open so many files more, as far as the system lets it: each lock is one."""
    if resource is None or count < _FEW:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    most = soft if soft == endless else soft + count if hard == endless else min(soft + count, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
