"""Where galleries are: a path of this machine, or an address in an object store."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from vreid_jax.errors import InputError
from vreid_jax.files import given_path, is_address

STORES = ("s3", "gs")
_APART = (".parts", ".frames", ".lance", ".index")  # of folders beside galleries, or in them, that hold other things


def pyarrow():
    """Return the `pyarrow` module with `pyarrow.parquet` imported.

    Raises:
      InputError: when it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            "galleries are Parquet files, which need pyarrow: python3 -m pip install 'vreid_jax[search]'"
        ) from error
    return pyarrow


@dataclasses.dataclass(frozen=True)
class Place:
    """A file or folder, here or in an object store.

    Attributes:
      text: as a person gave it; `~` expanded for a path.
      filesystem: of pyarrow.
      path: in that file system.
      is_remote: whether it is in an object store.
    """

    text: str
    filesystem: Any
    path: str
    is_remote: bool

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder; False where nothing is there."""
        if not self.is_remote:
            return os.path.isdir(self.path)
        from pyarrow import fs

        return self._answer(lambda: self.filesystem.get_file_info(self.path)).type == fs.FileType.Directory

    def within(self, name: str) -> Place:
        """Return what a folder holds under a name with `/` between its parts."""
        base = self.text.split("?")[0] if self.is_remote else self.text
        return Place(f"{base.rstrip('/')}/{name}", self.filesystem, f"{self.path.rstrip('/')}/{name}", self.is_remote)

    def parquet_files(self) -> list[str]:
        """Return the names of all `.parquet` files in the folder and below it, sorted, relative to it.

        What begins with `.` or `_`, and the folders in which a gallery keeps its parts, pictures and index, are left out.
        """
        names = self._remote_names() if self.is_remote else self._local_names()
        return sorted(name for name in names if name.endswith(".parquet") and not any(map(_is_apart, name.split("/"))))

    def _local_names(self) -> list[str]:
        found = []
        for folder, inside, files in os.walk(self.path, onerror=_refuse):
            inside[:] = [name for name in inside if not _is_apart(name)]
            found += [Path(os.path.relpath(os.path.join(folder, name), self.path)).as_posix() for name in files]
        return found

    def _remote_names(self) -> list[str]:
        from pyarrow import fs

        infos = self._answer(lambda: self.filesystem.get_file_info(fs.FileSelector(self.path, recursive=True)))
        return [info.path[len(self.path) :].lstrip("/") for info in infos if info.type == fs.FileType.File]

    def _answer(self, ask):
        """Return what an object store answers; that it does not is an `InputError`."""
        try:
            return ask()
        except OSError as error:
            line = next(iter(str(error).splitlines()), "")
            raise InputError(
                f"{self.text} cannot be reached: {line}; are its name and your credentials right?"
            ) from error


def _refuse(error: OSError) -> None:
    """Refuse a folder that cannot be read: an answer without its files would speak of less than was asked."""
    if not isinstance(error, FileNotFoundError):  # removed since its name was read
        raise InputError(
            f"the folder {error.filename} cannot be read ({error.strerror}): make it readable, or name others"
        )


def _is_apart(name: str) -> bool:
    return name.startswith((".", "_")) or name.endswith(_APART)


def check_address(text: str) -> str:
    """Return an address as it is; `InputError` for one of another kind than object stores have."""
    if text.split("://")[0] not in STORES:
        raise InputError(f"{text} is an address that this library cannot open: give a path, s3://… or gs://…")
    return text


def open_place(given: str | os.PathLike) -> Place:
    """Return where a person meant; there may or may not be something.

    Credentials and other settings of an object store are those of its own tools: the variables `AWS_…` and `GOOGLE_…`,
    or options behind a `?` such as `s3://bucket/folder?region=eu-central-1`.

    Raises:
      InputError: for a path that cannot be used, and for an address of another kind or that cannot be read.
    """
    if not is_address(os.fspath(given)):
        path = given_path(given)
        pyarrow()
        from pyarrow import fs

        return Place(str(path), fs.LocalFileSystem(), str(path), False)
    text = check_address(os.fspath(given))
    pa = pyarrow()
    from pyarrow import fs

    try:
        filesystem, path = fs.FileSystem.from_uri(text)
    except (pa.ArrowException, OSError, ValueError) as error:
        line = next(iter(str(error).splitlines()), "")
        raise InputError(f"the address {text} cannot be used: {line}") from error
    return Place(text, filesystem, path, True)


def holds_galleries(given: str | os.PathLike) -> bool:
    """Return whether a text names galleries: an address, something that ends in `.parquet`, or a folder of such files."""
    text = os.fspath(given)
    if is_address(text) or text.endswith(".parquet"):
        return True
    try:
        path = given_path(text)
    except InputError:
        return False
    return path.is_dir() and bool(open_place(path).parquet_files())


def given_gallery(text: str | os.PathLike) -> Path | str:
    """Return a path as `given_path` does, and an address as it is."""
    return os.fspath(text) if is_address(os.fspath(text)) else given_path(text)


def stated_gallery(folder: str | os.PathLike, stated: str) -> Path | str:
    """Return where a gallery is that a file in a folder states by its relative path, or by its address."""
    return stated if is_address(stated) else Path(folder) / stated


def real_gallery(gallery: str | os.PathLike) -> str:
    """Return a path without links in it, and an address as it is: the same for what is the same gallery."""
    return os.fspath(gallery) if is_address(os.fspath(gallery)) else os.path.realpath(gallery)
