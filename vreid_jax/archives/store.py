"""Where the parts of an archive lie: a folder, or a place in an object store; a file there is whole, or not there."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file, given_path
from vreid_jax.search.address import is_address, open_place, pyarrow
from vreid_jax.search.unchanged import held


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder or a place in an object store; it holds its address alone, so that it can be sent to other machines."""

    address: str

    @classmethod
    def at(cls, text: str) -> Store:
        """Return the store at what a person gave: a path, or `s3://BUCKET/…`, `gs://BUCKET/…`.

        Raises:
          InputError: when nothing can be there.
        """
        if is_address(text):
            open_place(text)
            return cls(text.rstrip("/") if "?" not in text else text)
        folder = given_path(text)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: name a folder")
        return cls(os.path.abspath(folder))

    def names(self) -> set[str]:
        """Return the names of all files in it, with `/` between folders; empty where there is nothing yet."""
        selector, file_type = pyarrow_fs().FileSelector, pyarrow_fs().FileType
        filesystem, root = self._opened()
        with _said(self.address, "read"):
            found = filesystem.get_file_info(selector(root, recursive=True, allow_not_found=True))
        return {each.path[len(root) :].strip("/") for each in found if each.type == file_type.File}

    def read(self, name: str) -> bytes | None:
        """Return what a file holds; None where it is not there."""
        filesystem, root = self._opened()
        with _said(f"{self.address}/{name}", "read"):
            try:
                with filesystem.open_input_file(f"{root}/{name}") as file:
                    return file.read()
            except FileNotFoundError:
                return None

    def has(self, name: str) -> bool:
        """Return whether a file is there."""
        filesystem, root = self._opened()
        with _said(f"{self.address}/{name}", "read"):
            return filesystem.get_file_info(f"{root}/{name}").is_file

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Let nobody forget in a file while the block runs, be it there or not; in an object store nobody does.

        Raises:
          InputError: as `unchanged.held`, and when its folder cannot be made.
        """
        if is_address(self.address):
            yield
            return
        path = os.path.join(self.address, name)
        with _said(path, "write"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with held([path]):
            yield

    def write(self, name: str, content: Any) -> None:
        """Write a file in one piece, bytes or an Arrow buffer: whoever looks sees it whole, or what was there before."""
        filesystem, root = self._opened()
        path = f"{root}/{name}"
        if not is_address(self.address):
            with _said(path, "write"):
                os.makedirs(os.path.dirname(path), exist_ok=True)
            with atomic_file(path) as half, open(half, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            return
        with _said(f"{self.address}/{name}", "write"):
            try:
                with filesystem.open_output_stream(path) as stream:
                    stream.write(content)
            except BaseException:
                # Closing a stream that failed may have made an object of what had been sent.
                with contextlib.suppress(OSError):
                    filesystem.delete_file(path)
                raise

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        filesystem, root = self._opened()
        with _said(f"{self.address}/{name}", "remove"), contextlib.suppress(FileNotFoundError):
            filesystem.delete_file(f"{root}/{name}")

    def _opened(self) -> tuple[Any, str]:
        place = open_place(self.address)
        return place.filesystem, place.path.rstrip("/")


@contextlib.contextmanager
def opened(address: str) -> Iterator[tuple[Any, int]]:
    """Yield a file at a path or an address, open to read and to seek in, and its size in bytes.

    Raises:
      InputError: when it cannot be read, now or inside.
    """
    place = open_place(address)
    with _said(address, "read"), place.filesystem.open_input_file(place.path) as file:
        yield file, file.size()


def fetch(address: str, folder: Path) -> Path:
    """Return a path of a file for programs that read paths: its own, or that of a copy in `folder`."""
    if not is_address(address):
        return Path(address)
    copy = folder / address.partition("?")[0].rpartition("/")[2]
    with opened(address) as (file, _), open(copy, "wb") as out:
        shutil.copyfileobj(file, out, 1 << 22)
    return copy


def pyarrow_fs():
    """Return the module `pyarrow.fs`."""
    pyarrow()
    from pyarrow import fs

    return fs


@contextlib.contextmanager
def _said(what: str, verb: str) -> Iterator[None]:
    """Say in one sentence what the system, or an object store, refuses."""
    try:
        yield
    except InputError:
        raise
    except (OSError, pyarrow().ArrowException) as error:
        raise InputError(f"cannot {verb} {what}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)
