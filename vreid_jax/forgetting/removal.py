"""Remove what a plan names: pictures first and the rows of the gallery last; each step may be done again."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import os
import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from vreid_jax.archives.beside import index_path, is_index
from vreid_jax.archives.parts import note_forgotten
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file, only_process, remove_unfinished_of
from vreid_jax.forgetting.plan import Plan, pictures_in
from vreid_jax.forgetting.selection import stored_name
from vreid_jax.linking.corrections import corrections_path, read_corrections, remove_tracklets, without_tracklets
from vreid_jax.linking.identities import Identities, read_identities, write_identities
from vreid_jax.report.page import stated_source
from vreid_jax.search.address import open_place
from vreid_jax.search.embedding import LOCK
from vreid_jax.search.gallery import open_gallery, pyarrow
from vreid_jax.search.sources import RECORD

_PAGES = (".html", ".htm")
_TRACK = re.compile(r"[^,]*,\s*(\d+(?:\.0*)?)\s*,")


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
      boxes: lines of the file of tracks.
    """

    rows: int = 0
    rows_left: int = 0
    pictures: int = 0
    files: list[str] = dataclasses.field(default_factory=list)
    identities: int = 0
    corrections: int = 0
    boxes: int = 0


def remove(plan: Plan) -> Removed:
    """Carry out a plan and return what was removed.

    Raises:
      InputError: when a file cannot be removed or written; what was removed until then stays removed.
    """
    removed = Removed()
    try:
        _remove_pictures(plan, removed)
        _remove_beside(plan, removed)
        _remove_tracks(plan, removed)
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


def pages_of(gallery: Path, identities: Sequence[Path], root: Path | None = None) -> list[Path]:
    """Return the pages of this library that show people of a gallery.

    Args:
      gallery: pages made of it are looked for in its folder.
      identities: files that link it; pages made of them are looked for in their folders too. They need not exist any longer.
      root: the folder of galleries that it is a file of; pages made of that are looked for beside it.

    Returns:
      The pages; among them those of identities whose own list of galleries names this one.
    """
    sources = [gallery, *([] if root is None else [root]), *identities]
    folders = sorted({Path(os.path.realpath(source)).parent for source in sources} | {gallery.parent})
    found = {}
    for folder in folders:
        for file in sorted(folder.iterdir()) if folder.is_dir() else []:
            if file.suffix.lower() in _PAGES and file.is_file() and _shows(file, gallery, sources):
                found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def _shows(page: Path, gallery: Path, sources: Sequence[Path]) -> bool:
    """Return whether a page was made of one of the sources, or of identities that were linked from the gallery."""
    with page.open(encoding="utf-8", errors="replace") as opened:
        text = opened.read(1 << 16)
        source = stated_source(text)
        if source is None:
            return False
        kind, _, places = source.partition(" ")
        folder = os.path.dirname(os.path.realpath(page))
        names = {os.path.relpath(os.path.realpath(each), folder) for each in sources} | {gallery.name}
        if any(re.search(rf"(^|, ){re.escape(name)}(, |$)", places) for name in names):
            return True
        # The file of identities may have been moved or removed since: its page lists the galleries.
        listed = re.compile(rf"(?<![\w.-]){re.escape(html.escape(gallery.name))}(?![\w.-])")
        return kind == "identities" and bool(listed.search(text + opened.read()))


def copies_of(gallery: Path, root: Path | None = None) -> list[Path]:
    """Return other files that hold vectors of a gallery: indexes, and parts of an embedding that was interrupted.

    An index is that of the gallery, or of a folder that it lies in, whether that was named or not.
    """
    beside = [index_path(gallery), gallery.with_name(f"{gallery.name}.parts")]
    if root is not None:
        beside.append(index_path(root))
    known = {os.path.realpath(file) for file in beside}
    above = [index_path(folder) for folder in Path(os.path.realpath(gallery)).parents if folder.name]
    beside += [file for file in above if is_index(file) and os.path.realpath(file) not in known]
    return [file for file in beside if file.exists()]


def _remove_beside(plan: Plan, removed: Removed) -> None:
    for file in [*pages_of(plan.gallery, plan.identities, plan.root), *copies_of(plan.gallery, plan.root)]:
        if file.is_dir():
            with only_process(file / LOCK, f"another process writes {plan.gallery}: wait for it"):
                for part in file.glob("*.parquet"):
                    part.unlink()
            shutil.rmtree(file)
        else:
            file.unlink()
            remove_unfinished_of(file)
        removed.files.append(str(file))
    remove_unfinished_of(plan.gallery)


def tracks_of(plan: Plan) -> Path:
    """Return where `vreid embed` keeps the tracks of a video that it tracked itself; it need not be there."""
    return plan.gallery.with_suffix(".tracks.txt")


def without_tracks(lines: Sequence[str], names: Collection[str]) -> list[str]:
    """Return the lines of a file of tracks but those of some tracklets: `frame,track,…`, and `track0017` is track 17."""
    goes = {int(name[5:]) for name in names if re.fullmatch(r"track\d+", name)}
    return [line for line in lines if not ((track := _TRACK.match(line)) and float(track[1]) in goes)]


def _remove_tracks(plan: Plan, removed: Removed) -> None:
    file = tracks_of(plan)
    remove_unfinished_of(file)
    if not file.is_file():
        return
    lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
    left = without_tracks(lines, plan.names)
    removed.boxes = len(lines) - len(left)
    if not any(map(str.strip, left)):
        file.unlink()
        removed.files.append(str(file))
    elif removed.boxes:
        with atomic_file(file) as half:
            half.write_text("".join(left), encoding="utf-8", errors="surrogateescape")


def _remove_identities(plan: Plan, file: Path, removed: Removed) -> None:
    if not file.exists():
        return
    for gallery, names in plan.called:
        if file.exists():
            _remove_names(plan, file, gallery, names, removed)


def _remove_names(plan: Plan, file: Path, gallery: Path, meant: set[str], removed: Removed) -> None:
    """Remove tracklets from a file of identities, which knows their gallery, or its folder, by one path."""
    table = read_identities(file)
    stored = stored_name(gallery, file, table)
    if stored is None:
        return
    columns = table.columns
    goes = [
        place == stored and name in meant
        for place, name in zip(columns["gallery"].tolist(), columns["tracklet_id"].tolist(), strict=True)
    ]
    if is_emptied := _is_emptied(plan, gallery):  # also of tracklets that it had when it was linked
        goes = [place == stored for place in columns["gallery"].tolist()]
    keeps = [not each for each in goes]
    names = meant | set(columns["tracklet_id"][goes].tolist())
    keys, about = {(stored, name) for name in names}, dict(table.about)
    if taken := about.get("corrections"):  # those that were taken in come first in their file
        about["corrections"] = len(without_tracklets(read_corrections(file)[:taken], keys))
        if about["corrections"] < taken:  # before they go: a number too small shows one twice, one too large hides one
            write_identities(Identities(columns, about), file)
    removed.corrections += remove_tracklets(file, keys)
    removed.identities += sum(goes)
    if not any(keeps):
        file.unlink()
        removed.files.append(str(file))
        if (corrections := corrections_path(file)).exists():
            corrections.unlink()
            removed.files.append(str(corrections))
    elif any(goes) or is_emptied:
        galleries = [
            {**each, "rows": each["rows"] - sum(goes) if each["path"] == stored else each["rows"]}
            for each in table.about["galleries"]
            if not (is_emptied and each["path"] == stored)
        ]
        left = {name: values[keeps] for name, values in columns.items()}
        write_identities(Identities(left, {**about, "galleries": galleries}), file)


def _is_emptied(plan: Plan, gallery: Path) -> bool:
    """Return whether nobody is left in the gallery, or in its folder, once the plan is carried out."""
    if gallery == plan.root and any(file != plan.gallery for file in files_in(gallery)):
        return False
    return not plan.gallery.exists() or set(open_gallery(plan.gallery).columns["tracklet_id"].tolist()) <= plan.names


def files_in(root: Path) -> list[Path]:
    """Return the files of a folder of galleries."""
    return [root / name for name in open_place(root).parquet_files()] if root.is_dir() else []


def _remove_rows(plan: Plan, removed: Removed) -> None:
    if not plan.gallery.exists():
        return
    pa = pyarrow()
    table = pa.parquet.read_table(plan.gallery, page_checksum_verification=True)
    goes = [name in plan.names for name in table.column("tracklet_id").to_pylist()]
    left = table.filter(pa.array([not each for each in goes]))
    removed.rows, removed.rows_left = sum(goes), left.num_rows
    if not left.num_rows:
        note_forgotten(plan.gallery)
        plan.gallery.unlink()
        removed.files.append(str(plan.gallery))
    elif any(goes):
        with atomic_file(plan.gallery) as half:
            pa.parquet.write_table(left, half, write_page_checksum=True)
