"""A folder that a user filled by hand, with folders or archives, read as one tree and never written to."""

import lzma
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from vreid_jax.datasets import pictures
from vreid_jax.errors import InputError
from vreid_jax.files import given_path, is_address, read_regular

_LITTER = ("Thumbs.db", "desktop.ini", "__MACOSX")
_DEPTH = 5  # folders that an archive may have above the dataset
_NUMBER = re.compile(r"\d+")
_LARGEST = 1 << 28  # bytes of a picture or a table; a small archive can hold a file that fills the memory


def is_litter(name: str) -> bool:
    """Return whether a file or folder was left behind by an operating system."""
    return name.startswith(".") or name in _LITTER


def frame_order(name: str) -> tuple:
    """Return the sort key of a frame's file name: the last number in it, or the name where it has none."""
    numbers = _NUMBER.findall(name.rpartition(".")[0])
    return (0, int(numbers[-1]), name) if numbers else (1, 0, name)


class ManualFiles:
    """A folder with a dataset as it was distributed: folders, `.zip` and `.tar` files, or one such archive alone.

    Paths are relative and use `/`; archives appear unpacked in the folder that holds them. Names are sorted, litter is
    left out, and so are archives in the folder that cannot be read, which may be of another dataset.

    Args:
      root: the folder or archive.

    Attributes:
      left_out: a sentence for each archive that cannot be read, with the reason.

    Raises:
      InputError: `root` does not exist, is an address such as `gs://bucket/folder`, or an archive that cannot be read.
    """

    def __init__(self, root: str | os.PathLike):
        if is_address(os.fspath(root)):
            raise InputError(
                f"manual_dir {root} is an address: copy the data into a folder of this machine, and name that"
            )
        self.root = given_path(root)
        if not self.root.exists():
            raise InputError(
                f"manual_dir {self.root} does not exist; name the folder that holds the data as distributed"
            )
        folders = [self.root] if self.root.is_dir() else []
        archives = sorted(self.root.iterdir()) if folders else [self.root]
        self._sources: list[_Folder | _Zip | _Tar] = [_Folder(folder) for folder in folders]
        self.left_out: list[str] = []
        for path in archives:
            if is_litter(path.name) or not path.is_file():
                continue
            try:
                if path.suffix.lower() == ".zip":
                    self._sources.append(_Zip(path))
                elif path.suffix.lower() == ".tar":
                    self._sources.append(_Tar(path))
                elif path.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")):
                    raise InputError(f"{path} does not allow random access; unpack it, or repack it as .zip or .tar")
                elif not folders:
                    raise InputError(f"manual_dir {path} is neither a folder nor a .zip or .tar file")
            except InputError as error:
                if not folders:
                    raise
                self.left_out.append(str(error))

    def __enter__(self) -> "ManualFiles":
        return self

    def __exit__(self, *error) -> None:
        for source in self._sources:
            source.close()

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in `folder`."""
        return sorted({name for source in self._sources for name in source.list(folder)[0]})

    def files(self, folder: str) -> list[str]:
        """Return the names of the files in `folder`."""
        return sorted({name for source in self._sources for name in source.list(folder)[1]})

    def frames(self, folder: str) -> tuple[str, ...]:
        """Return the paths of the pictures in `folder`, in order of their number.

        Raises:
          InputError: there are none.
        """
        names = [name for name in self.files(folder) if name.lower().endswith(pictures.SUFFIXES)]
        if not names:
            raise InputError(f"{self.where(folder)} has no frames: every tracklet has at least one .jpg or .png")
        return tuple(f"{folder}/{name}" for name in sorted(names, key=frame_order))

    def find_folder(self, is_it: Callable[[set[str]], bool]) -> str | None:
        """Return the topmost folder for whose subfolders' names `is_it` holds ("." is the top), or None."""
        for folder, names, _ in self._walk():
            if is_it(set(names)):
                return folder
        return None

    def find_file(self, name: str) -> str | None:
        """Return the path of the topmost file called `name`, or None."""
        for folder, _, files in self._walk():
            if name in files:
                return join(folder, name)
        return None

    def _walk(self) -> Iterator[tuple[str, list[str], list[str]]]:
        level = ["."]
        for _ in range(_DEPTH):
            below = []
            for folder in level:
                names = self.folders(folder)
                yield folder, names, self.files(folder)
                below += [join(folder, name) for name in names]
            level = below

    def read(self, path: str) -> bytes:
        """Return the contents of a file.

        Raises:
          InputError: it is missing, or cannot be read.
        """
        source = self._source(path)
        if source is None:
            raise self.absent(f"{self.where(path)} is missing")
        try:
            size = source.size(path)
            if size > _LARGEST:
                raise InputError(
                    f"{self.where(path)} has {size:,} bytes; a picture or a table has at most {_LARGEST:,}: fetch it again"
                )
            return source.read(path)
        except InputError:
            raise
        except _UNREADABLE as error:
            raise InputError(f"{self.where(path)} cannot be read: {_said(error)}") from error

    def picture(self, path: str) -> bytes:
        """Return the contents of a picture after checking that it is complete.

        Raises:
          InputError: it is missing, or not a complete JPEG or PNG.
        """
        data = self.read(path)
        wrong = pictures.fault(data)
        if wrong:
            raise InputError(f"{self.where(path)} {wrong}; fetch or unpack the data again")
        return data

    def where(self, path: str) -> str:
        """Return where a path is, for messages; a path in an archive comes after the archive's name."""
        folder, _, name = path.rpartition("/")
        for source in self._sources:
            folders, files = source.list(folder or ".")
            if name in folders or name in files:
                return source.where(path)
        return os.path.normpath(self.root / path)

    def absent(self, words: str) -> InputError:
        """Return the error that something is not there, with the archives that were left out: it may lie in one of them."""
        return InputError("; ".join([words, *self.left_out]))

    def _source(self, path: str):
        folder, _, name = path.rpartition("/")
        return next((s for s in self._sources if name in s.list(folder or ".")[1]), None)


def join(folder: str, name: str) -> str:
    """Return `folder/name`, or `name` in the top folder."""
    return name if folder == "." else f"{folder}/{name}"


# What the readers of archives raise where bytes are not what they must be; zipfile and tarfile let it through.
_UNREADABLE = (
    OSError,
    EOFError,
    MemoryError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)


def _said(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


_Names = tuple[Collection[str], Collection[str]]  # of folders, of files
_NOTHING: _Names = (frozenset(), frozenset())


class _Folder:
    """Files on disk; the listing of the last folder is remembered."""

    def __init__(self, root: Path):
        self._root, self._last = root, ("", _NOTHING)

    def list(self, folder: str) -> _Names:
        if self._last[0] != folder:
            self._last = (folder, self._scan(folder))
        return self._last[1]

    def _scan(self, folder: str) -> _Names:
        folders, files = set(), set()
        try:
            with os.scandir(self._root / folder) as entries:
                for entry in entries:
                    if not is_litter(entry.name):
                        (folders if entry.is_dir() else files).add(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return _NOTHING
        except OSError as error:
            raise InputError(f"{self._root / folder} cannot be read: {error.strerror}") from error
        return folders, files

    def size(self, path: str) -> int:
        return (self._root / path).stat().st_size

    def read(self, path: str) -> bytes:
        return read_regular(self._root / path)

    def where(self, path: str) -> str:
        return os.path.normpath(self._root / path)

    def close(self) -> None:
        pass


def _parts(path: str) -> list[str]:
    """Return the names that a path in an archive consists of; none if it is of litter."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return [] if any(map(is_litter, parts)) else parts


class _Archive:
    """An archive's table of contents: folder → names of its folders, and names of its files with their entries."""

    def __init__(self, path: Path):
        self._path = path
        self._table: dict[str, tuple[set[str], dict]] = {".": (set(), {})}

    def add(self, path: str, entry) -> None:
        parts = _parts(path)
        if not parts:
            return
        above = "/".join(parts[:-1]) or "."
        if above not in self._table:
            for depth in range(len(parts) - 1):
                upper = "/".join(parts[:depth]) or "."
                self._table.setdefault(upper, (set(), {}))[0].add(parts[depth])
            self._table.setdefault(above, (set(), {}))
        self._table[above][1][parts[-1]] = entry

    def list(self, folder: str) -> _Names:
        return self._table.get(folder, _NOTHING)

    def entry(self, path: str):
        folder, _, name = path.rpartition("/")
        return self._table[folder or "."][1][name]

    def where(self, path: str) -> str:
        return f"{self._path}: {path}"


class _Zip(_Archive):
    def __init__(self, path: Path):
        super().__init__(path)
        try:
            self._file = zipfile.ZipFile(path)
            for info in self._file.infolist():
                if not info.is_dir():
                    self.add(info.filename, info)
        except _UNREADABLE as error:
            raise InputError(f"{path} is not a readable zip archive ({_said(error)}); fetch it again") from error

    def size(self, path: str) -> int:
        return self.entry(path).file_size

    def read(self, path: str) -> bytes:
        return self._file.read(self.entry(path))

    def close(self) -> None:
        self._file.close()


class _Tar(_Archive):
    def __init__(self, path: Path):
        super().__init__(path)
        try:
            link = ""
            end, after = path.stat().st_size, -1
            with tarfile.open(path, "r:") as tar:
                while (member := tar.next()) is not None:
                    if not after < member.offset_data <= member.offset_data + member.size <= end:
                        raise tarfile.ReadError(f"{member.name!r} does not lie inside it")
                    after = member.offset_data  # or a negative size would lead back, without end
                    if member.isfile():
                        self.add(member.name, (member.offset_data, member.size))
                    elif not _parts(member.name):
                        pass
                    elif member.islnk():  # a second name of a file that was packed before it
                        self.add(member.name, self._linked(member.linkname))
                    elif member.issym():
                        link = link or member.name
                    tar.members = []  # pyright: ignore[reportAttributeAccessIssue] # or tarfile would keep every member
            self._file = path.open("rb")
        except _UNREADABLE as error:
            raise InputError(
                f"{path} is not a readable, uncompressed tar archive ({_said(error)}); fetch it again"
            ) from error
        if link:
            self.close()
            raise InputError(
                f"{path} has {link} as a symbolic link only; pack the files themselves with tar --dereference"
            )

    def _linked(self, name: str) -> tuple[int, int]:
        try:
            return self.entry("/".join(_parts(name)))
        except KeyError:
            raise tarfile.ReadError(f"a link leads to {name!r}, which is not packed before it") from None

    def size(self, path: str) -> int:
        return self.entry(path)[1]

    def read(self, path: str) -> bytes:
        offset, size = self.entry(path)
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) < size:
            raise OSError("the archive ends before it")
        return data

    def close(self) -> None:
        self._file.close()
