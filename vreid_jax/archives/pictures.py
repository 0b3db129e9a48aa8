"""The pictures of parts, which stay in a folder that several archives may share, and whose they are.

Whoever makes a part leaves a note in the folder of its pictures: a file named by the archive and by the attempt.
"""

import contextlib
import hashlib
import logging
import re
import secrets
import shutil
from pathlib import Path

from vreid_jax.archives.parts import OWNER, ArchiveSettings
from vreid_jax.archives.store import Store
from vreid_jax.errors import InputError
from vreid_jax.files import TOKEN, UNFINISHED, given_path, remove_unfinished_of

_UNKNOWN = f"{OWNER}unknown"  # the note of pictures that were there, and nobody's
_CUT = re.compile(rf"\.?([0-9a-f]+)-([0-9a-f]+)(?:\.[0-9a-f]+{re.escape(UNFINISHED)})?")

log = logging.getLogger(__name__)


def pictures_of(name: str, settings: ArchiveSettings) -> Path | None:
    """Return the folder where the pictures of a part stay whose file has this name in the archive; None where none do."""
    return given_path(settings.pictures) / Path(name).with_suffix("") if settings.pictures else None


def all_pictures(settings: ArchiveSettings) -> set[tuple[str, str, Path]]:
    """Return the source and the content of every part of which there are pictures, be they unfinished, and their folder."""
    places = given_path(settings.pictures).glob("camera=*/date=*/*") if settings.pictures else ()
    found = ((_CUT.fullmatch(place.name), place) for place in places)
    return {(match[1], match[2], place.with_name(f"{match[1]}-{match[2]}")) for match, place in found if match}


def own(folder: Path, store: Store, cut: bool) -> Path:
    """Note in a folder of pictures that an archive uses them, and return the note.

    Args:
      folder: of a part's pictures.
      store: the archive.
      cut: whether they have just been cut, and were not found there.

    Raises:
      InputError: when it cannot be written.
    """
    note = folder / f"{_prefix(store)}{secrets.token_hex(TOKEN)}"
    try:
        if not cut and not _notes(folder):
            (folder / _UNKNOWN).touch()
        note.write_text(f"{store.address}\n", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"cannot write {note}: {error.strerror or error}") from error
    return note


def disown(note: Path) -> None:
    """Remove the note of an attempt that failed, and the pictures where it is the only one; if that fails, it is logged."""
    folder = note.parent
    try:
        if _notes(folder) == [note.name]:
            _remove(folder)
        else:
            note.unlink(missing_ok=True)
    except OSError as error:
        log.warning("the pictures in %s cannot be removed: %s", folder, error.strerror or error)


def remove_pictures(folder: Path, store: Store) -> None:
    """Remove a folder of pictures that only this archive uses, also what interrupted calls left; else only its notes.

    Raises:
      InputError: when they cannot be removed.
    """
    remove_unfinished_of(folder)
    notes, prefix = _notes(folder), _prefix(store)
    mine = [name for name in notes if name.startswith(prefix)]
    try:
        if mine and mine == notes:
            _remove(folder)
        else:
            for name in mine:
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"the pictures in {folder} cannot be removed: {error.strerror or error}") from error


def _prefix(store: Store) -> str:
    return f"{OWNER}{hashlib.sha256(store.address.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}-"


def _notes(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob(f"{OWNER}*"))


def _remove(folder: Path) -> None:
    """Remove a folder; if that is interrupted, what is left has the name of what was not finished."""
    half = folder.with_name(f".{folder.name}.{secrets.token_hex(TOKEN)}{UNFINISHED}")
    folder.rename(half)
    with contextlib.suppress(FileNotFoundError):  # another process removes it, too
        shutil.rmtree(half)
