"""The index beside a gallery: a database of its rows, made on first use, to which what new files hold is added."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from vreid_jax.archives import approximate
from vreid_jax.archives.database import Database, lance, open_database, push
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file, only_process, open_regular, read_regular
from vreid_jax.json_files import json_or_none
from vreid_jax.search.gallery_files import GalleryFiles, Part

SUFFIX = ".index"
FORMAT = "vreid_jax-index-1"
_FILES, _ROWS, _LOCK = "files.json", "vectors.lance", ".lock"


def index_path(gallery: Path) -> Path:
    """Return where the index of a gallery of this machine is kept; it need not be there."""
    return gallery.with_name(f"{gallery.name}{SUFFIX}")


def is_index(folder: Path) -> bool:
    """Return whether a folder is an index, whole or not, and not something else of that name."""
    return (folder / _ROWS).is_dir()


def index_of(files: GalleryFiles, *, progress: bool = False) -> Database:
    """Return the database beside a gallery, brought up to its files.

    What new files hold is added. Where one has changed or is gone, or a call was interrupted, all of it is made anew.

    Args:
      files: the gallery, of this machine.
      progress: whether to show a bar.

    Raises:
      InputError: when the gallery is in an object store, the index cannot be written, or another process writes it.
    """
    lance()
    if files.place.is_remote:
        raise InputError(
            f"--approximate keeps an index beside a gallery of this machine, and {files.place.text} is an address: write it "
            "into a database with `vreid push`, and search that"
        )
    folder = index_path(Path(os.path.realpath(files.place.path)))
    stamps = {part.place.path[len(files.place.path) :].lstrip("/"): _stamp(part) for part in files.parts}
    if _read(folder / _FILES) == stamps and _is_whole(folder / _ROWS, stamps):
        return open_database(folder / _ROWS)  # searches of one moment do not wait for each other
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; search without --approximate") from error
    with only_process(folder / _LOCK, f"another process just makes {folder}: wait for it"):
        known = _read(folder / _FILES)
        if not (known.items() <= stamps.items() and _is_whole(folder / _ROWS, known)):
            (folder / _FILES).unlink(missing_ok=True)
            shutil.rmtree(folder / _ROWS, ignore_errors=True)
            known = {}
        new = [part for part, name in zip(files.parts, stamps, strict=True) if name not in known]
        if new:
            files.refuse_doubled()
            (folder / _FILES).unlink(missing_ok=True)  # until it is whole again: interrupted, it is made anew
            some = GalleryFiles(files.place, new, files.is_folder, files.about)
            push(some, folder / _ROWS, progress=progress)
            approximate.maintain(open_database(folder / _ROWS))
            with atomic_file(folder / _FILES) as half:
                half.write_text(json.dumps({"format": FORMAT, "files": stamps}))
    return open_database(folder / _ROWS)


def _read(file: Path) -> dict[str, Any]:
    """Return the stamps of the files that an index is of; empty where that is not known."""
    try:
        content = json_or_none(read_regular(file))
    except InputError:
        return {}
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("files"), dict):
        return {}
    return content["files"]


def _is_whole(rows: Path, known: dict[str, Any]) -> bool:
    if not known:
        return False
    try:
        open_database(rows)
    except InputError:
        return False
    return True


def _stamp(part: Part) -> str:
    """Return a digest of the length, time and footer of a file, which holds its metadata and extremes of its columns.

    The time is that of its last change, since other vectors may have the same extremes. The footer ends in its own length
    and "PAR1".

    Raises:
      InputError: when it is gone.
    """
    with open_regular(part.place.path) as file:
        size = file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(size - length)
        changed = os.fstat(file.fileno()).st_mtime_ns
        return hashlib.sha256(b"%d %d " % (size, changed) + file.read()).hexdigest()
