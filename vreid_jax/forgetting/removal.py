"""Remove what a plan names: pictures first and the rows of the gallery last; each step may be done again."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from pathlib import Path

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file, only_process, remove_unfinished_of
from vreid_jax.forgetting.plan import Plan, pictures_in
from vreid_jax.forgetting.selection import stored_name
from vreid_jax.linking.corrections import corrections_path, remove_tracklets
from vreid_jax.linking.identities import Identities, read_identities, write_identities
from vreid_jax.report.page import stated_source
from vreid_jax.search.embedding import LOCK
from vreid_jax.search.gallery import pyarrow
from vreid_jax.search.sources import RECORD

_PAGES = (".html", ".htm")


@dataclasses.dataclass
class Removed:
    """What was removed, for the report.

    Attributes:
      rows: of the gallery.
      rows_left: in it; 0 where the file itself was removed.
      pictures: files.
      files: other files and folders that were removed whole.
      identities: rows of files of identities.
      corrections: that were changed or removed.
    """

    rows: int = 0
    rows_left: int = 0
    pictures: int = 0
    files: list[str] = dataclasses.field(default_factory=list)
    identities: int = 0
    corrections: int = 0


def remove(plan: Plan) -> Removed:
    """Carry out a plan and return what was removed.

    Raises:
      InputError: when a file cannot be removed or written; what was removed until then stays removed.
    """
    removed = Removed()
    try:
        _remove_pictures(plan, removed)
        _remove_beside(plan, removed)
        for file in plan.identities:
            _remove_identities(plan, file, removed)
        _remove_rows(plan, removed)
    except OSError as error:
        raise InputError(f"cannot remove {error.filename}: {error.strerror}; give the same command again") from error
    return removed


def _remove_pictures(plan: Plan, removed: Removed) -> None:
    for tracklet in plan.tracklets:
        folder = Path(tracklet.folder)
        if not tracklet.folder or not folder.is_dir():
            continue
        for file in pictures_in(folder):
            file.unlink()
            removed.pictures += 1
        with contextlib.suppress(OSError):  # something else lies in it
            folder.rmdir()
        parent = folder.parent
        if [entry.name for entry in parent.iterdir()] == [RECORD]:  # of pictures that were cut from a video
            (parent / RECORD).unlink()
            parent.rmdir()


def pages_of(gallery: Path) -> list[Path]:
    """Return the pages of this library in the folder of a gallery that were made of it."""
    named = re.compile(rf"(^|, ){re.escape(gallery.name)}(, |$)")
    found = []
    for file in sorted(gallery.parent.iterdir()):
        if file.suffix.lower() not in _PAGES or not file.is_file():
            continue
        with file.open(encoding="utf-8", errors="replace") as opened:
            source = stated_source(opened.read(1 << 16))
        if source and named.search(source.partition(" ")[2]):
            found.append(file)
    return found


def copies_of(gallery: Path) -> list[Path]:
    """Return other files that hold vectors of a gallery: its index, and parts of an embedding that was interrupted."""
    beside = (gallery.with_name(f"{gallery.name}.faiss"), gallery.with_name(f"{gallery.name}.parts"))
    return [file for file in beside if file.exists()]


def _remove_beside(plan: Plan, removed: Removed) -> None:
    for file in [*pages_of(plan.gallery), *copies_of(plan.gallery)]:
        if file.is_dir():
            with only_process(file / LOCK, f"another process writes {plan.gallery}: wait for it"):
                for part in file.glob("*.parquet"):
                    part.unlink()
            shutil.rmtree(file)
        else:
            file.unlink()
        removed.files.append(str(file))
    for file in (plan.gallery.with_name(f"{plan.gallery.name}.faiss"), plan.gallery):
        remove_unfinished_of(file)


def _remove_identities(plan: Plan, file: Path, removed: Removed) -> None:
    if not file.exists():
        return
    table = read_identities(file)
    stored = stored_name(plan.gallery, file, table)
    if stored is None:
        return
    columns = table.columns
    goes = [
        gallery == stored and name in plan.names
        for gallery, name in zip(columns["gallery"].tolist(), columns["tracklet_id"].tolist(), strict=True)
    ]
    keeps = [not each for each in goes]
    removed.corrections += remove_tracklets(file, {(stored, name) for name in plan.names})
    removed.identities += sum(goes)
    if not any(keeps):
        file.unlink()
        removed.files.append(str(file))
        if (corrections := corrections_path(file)).exists():
            corrections.unlink()
            removed.files.append(str(corrections))
    elif any(goes):
        galleries = [
            {**each, "rows": each["rows"] - sum(goes) if each["path"] == stored else each["rows"]}
            for each in table.about["galleries"]
        ]
        left = {name: values[keeps] for name, values in columns.items()}
        write_identities(Identities(left, {**table.about, "galleries": galleries}), file)


def _remove_rows(plan: Plan, removed: Removed) -> None:
    if not plan.gallery.exists():
        return
    pa = pyarrow()
    table = pa.parquet.read_table(plan.gallery, page_checksum_verification=True)
    goes = [name in plan.names for name in table.column("tracklet_id").to_pylist()]
    left = table.filter(pa.array([not each for each in goes]))
    removed.rows, removed.rows_left = sum(goes), left.num_rows
    if not left.num_rows:
        plan.gallery.unlink()
        removed.files.append(str(plan.gallery))
    elif any(goes):
        with atomic_file(plan.gallery) as half:
            pa.parquet.write_table(left, half, write_page_checksum=True)
