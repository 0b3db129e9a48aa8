"""The files in which somebody may have to be forgotten: galleries, and those files of a folder that can hold who is meant."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from vreid_jax.errors import InputError
from vreid_jax.files import given_path
from vreid_jax.forgetting.plan import SUFFIX, journal_of
from vreid_jax.forgetting.selection import Selection
from vreid_jax.search.address import is_address, open_place
from vreid_jax.search.gallery_files import open_files


@dataclasses.dataclass(frozen=True)
class Target:
    """A file of a gallery.

    Attributes:
      path: of the file.
      root: the folder that was named, where it is one of its files.
      source: what names in that folder begin with for this file; empty where the file is gone, and only its journal is left.
      links: symbolic links to the file, by which it was named or found.
    """

    path: Path
    root: Path | None = None
    source: str = ""
    links: tuple[Path, ...] = ()


def targets_of(galleries: Sequence[str | Path], selection: Selection) -> list[Target]:
    """Return the files that may hold who is meant, and those in which an earlier call was killed.

    Raises:
      InputError: when a gallery is named twice, is an address, or a folder cannot be used.
    """
    found = []
    for gallery in galleries:
        if is_address(os.fspath(gallery)):
            raise InputError(
                f"{gallery} is an address: copy its files to this machine, forget there, and copy them back"
            )
        path = given_path(gallery)
        if path.is_dir():
            found += _in_folder(Path(os.path.realpath(path)), selection)
        else:
            found.append(Target(_real(path), links=_links(path)))
    if len({os.path.realpath(target.path) for target in found}) < len(found):
        raise InputError("a gallery is named twice")
    return found


def _real(path: Path) -> Path:
    """Return what a symbolic link leads to: to remove the link would leave the vectors."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _links(path: Path) -> tuple[Path, ...]:
    """Return the symbolic links that lead one to the other from a path to its file; none where it is the file."""
    found: tuple[Path, ...] = ()
    while path.is_symlink() and path not in found:
        found += (path,)
        path = path.parent / os.readlink(path)
    return found


def _in_folder(root: Path, selection: Selection) -> list[Target]:
    links: dict[Path, tuple[Path, ...]] = {}
    for file in filter(Path.is_symlink, files_in(root)):
        links[_real(file)] = tuple(dict.fromkeys(links.get(_real(file), ()) + _links(file)))
    unfinished = {journal.with_name(journal.name.removesuffix(SUFFIX)) for journal in root.rglob(f"*{SUFFIX}")}
    unfinished |= {file for file in links if journal_of(file).exists()}
    try:
        parts = open_files(root).parts
    except InputError:
        if not unfinished:
            raise
        parts = []  # the earlier call has removed the last file
    sources = {_real(Path(part.place.path)): part.source for part in parts}
    named = {
        path: source
        for path, source in sources.items()
        if not selection.tracklets or any(name.startswith(f"{source}/") for name in selection.tracklets)
    }
    chosen = sorted(unfinished | set(named)) or list(sources)[:1]  # which does not have them either, and says so
    return [Target(path, root, sources.get(path, ""), links.get(path, ())) for path in chosen]


def files_in(root: Path) -> list[Path]:
    """Return the files of a folder of galleries, links to such files among them."""
    return [root / name for name in open_place(root).parquet_files()] if root.is_dir() else []
