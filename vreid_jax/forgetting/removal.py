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
from vreid_jax.archives.parts import OWNER, note_forgotten
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file, only_process, remove_unfinished_of
from vreid_jax.forgetting.plan import Plan, pictures_in
from vreid_jax.forgetting.selection import stored_name
from vreid_jax.forgetting.targets import files_in
from vreid_jax.linking.corrections import corrections_path, read_corrections, remove_tracklets, without_tracklets
from vreid_jax.linking.identities import Identities, read_identities, write_identities
from vreid_jax.report.page import stated_source
from vreid_jax.search.embedding import LOCK
from vreid_jax.search.gallery import open_gallery, pyarrow
from vreid_jax.search.sources import RECORD
from vreid_jax.search.unchanged import held

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
    folders = [Path(tracklet.folder) for tracklet in plan.tracklets if tracklet.folder]
    for folder in filter(Path.is_dir, folders):
        for file in pictures_in(folder):
            file.unlink()
            removed.pictures += 1
        with contextlib.suppress(OSError):  # something else lies in it
            folder.rmdir()
    for parent in dict.fromkeys(folder.parent for folder in folders):  # a killed call may have left it alone
        left = sorted(parent.iterdir()) if parent.is_dir() else []
        if parent / RECORD in left and all(file.name == RECORD or file.name.startswith(OWNER) for file in left):
            for file in left:  # the record, by which a repeated call knows such a folder, comes last by its name
                file.unlink()
            parent.rmdir()


def pages_of(plan: Plan) -> list[Path]:
    """Return the pages of this library that show people of a gallery.

    They are looked for in its folder, in and beside the folder of galleries that it is a file of, and in the folders of
    identities that link it, which need not exist any longer; where one of these is a link, beside that too.

    Returns:
      The pages; among them those of identities whose own list of galleries names this one.
    """
    sources = [*plan.places, *([] if plan.root is None else [plan.root]), *plan.identities]
    folders = {Path(os.path.realpath(source)).parent for source in sources} | {source.parent for source in sources}
    holding = _holding(plan)
    folders |= {folder for folder in holding if plan.root in (folder, *folder.parents)}
    found = {}
    for folder in sorted(folders):
        for file in sorted(folder.iterdir()) if folder.is_dir() else []:
            if file.suffix.lower() in _PAGES and file.is_file() and _shows(file, plan, sources, holding):
                found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def _shows(page: Path, plan: Plan, sources: Sequence[Path], holding: Sequence[Path]) -> bool:
    """Return whether a page was made of one of the sources, of a folder that holds the gallery, or of identities that link it."""
    with page.open(encoding="utf-8", errors="replace") as opened:
        text = opened.read(1 << 16)
        source = stated_source(text)
        if source is None:
            return False
        kind, _, places = source.partition(" ")
        if kind not in ("gallery", "search", "identities"):  # of a run, whose folder may hold galleries
            return False
        called = {place.name for place in plan.places}
        names = set(called)
        if kind == "search":  # it names galleries as the server does, a folder of them by its own name
            names |= {folder.name for folder in holding}
        sources = [*sources, *holding]
        for whole in (os.path.realpath, os.path.abspath):  # the latter: both were moved, and links took their places
            names |= {os.path.relpath(whole(each), os.path.dirname(whole(page))) for each in sources}
        if any(re.search(rf"(^|, ){re.escape(name)}(, |$)", places) for name in names):
            return True
        # The file of identities may have been moved or removed since: its page lists the galleries.
        either = "|".join(re.escape(html.escape(name)) for name in sorted(called))
        listed = re.compile(rf"(?<![\w.-])(?:{either})(?![\w.-])")
        return kind == "identities" and bool(listed.search(text + opened.read()))


def copies_of(plan: Plan) -> list[Path]:
    """Return other files that hold vectors of a gallery: indexes, and parts of an embedding that was interrupted.

    An index is that of the gallery, or of a folder that it or a link to it lies in, whether that was named or not.
    """
    beside = [index_path(place) for place in plan.places]
    beside += [place.with_name(f"{place.name}.parts") for place in plan.places]
    if plan.root is not None:
        beside.append(index_path(plan.root))
    beside += [file for folder in _holding(plan) if is_index(file := index_path(folder))]
    found: dict[str, Path] = {}
    for file in filter(Path.exists, beside):
        found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def _holding(plan: Plan) -> list[Path]:
    """Return the folders that a gallery or a link to it lies in, whether they were named or not: any may be served as one."""
    inside = [Path(os.path.realpath(place.parent), place.name) for place in plan.places]
    named = [] if plan.root is None else [plan.root]
    return [
        folder
        for folder in dict.fromkeys([*named, *(each for place in inside for each in place.parents)])
        if folder.name
    ]


def _remove_beside(plan: Plan, removed: Removed) -> None:
    for file in [*pages_of(plan), *copies_of(plan)]:
        if file.is_dir():
            with only_process(file / LOCK, f"another process writes {plan.gallery}: wait for it"):
                for part in file.glob("*.parquet"):
                    part.unlink()
        else:
            remove_unfinished_of(file)
        _remove(file)
        removed.files.append(str(file))
    remove_unfinished_of(plan.gallery)


def _remove(file: Path) -> None:
    """Remove a file or a folder; of a symbolic link, it and what it leads to."""
    real = Path(os.path.realpath(file))
    if real.is_dir():
        shutil.rmtree(real)
    else:
        real.unlink(missing_ok=True)
    file.unlink(missing_ok=True)


def tracks_of(plan: Plan) -> list[Path]:
    """Return where `vreid embed` keeps the tracks of a video that it tracked itself; they need not be there."""
    return [place.with_suffix(".tracks.txt") for place in plan.places]


def without_tracks(lines: Sequence[str], names: Collection[str]) -> list[str]:
    """Return the lines of a file of tracks but those of some tracklets: `frame,track,…`, and `track0017` is track 17."""
    goes = {int(name[5:]) for name in names if re.fullmatch(r"track\d+", name)}
    return [line for line in lines if not ((track := _TRACK.match(line)) and float(track[1]) in goes)]


def _remove_tracks(plan: Plan, removed: Removed) -> None:
    for file in tracks_of(plan):
        remove_unfinished_of(file)
        if not file.is_file():
            continue
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
        left = without_tracks(lines, plan.names)
        removed.boxes += len(lines) - len(left)
        if not any(map(str.strip, left)):
            _remove(file)
            removed.files.append(str(file))
        elif len(left) < len(lines):
            with atomic_file(file) as half:
                half.write_text("".join(left), encoding="utf-8", errors="surrogateescape")


def _remove_identities(plan: Plan, file: Path, removed: Removed) -> None:
    with held([file]):
        for gallery, names in plan.called:
            if file.exists():
                _remove_names(plan, file, gallery, names, removed)
        if is_dangling(file):
            file.unlink()


def _remove_names(plan: Plan, file: Path, gallery: Path, meant: set[str], removed: Removed) -> None:
    """Remove tracklets from a file of identities, which knows their gallery, or its folder, by one path."""
    table = read_identities(file)
    stored = stored_name(gallery, file, table)
    if stored is None:
        return
    columns = table.columns
    goes = [place == stored and name in meant for place, name in table.tracklets()]
    if is_emptied := _is_emptied(plan, gallery):  # also of tracklets that it had when it was linked
        goes = [place == stored for place in columns["gallery"].tolist()]
    keeps = [not each for each in goes]
    names = meant | set(columns["tracklet_id"][goes].tolist())
    keys, about = {(stored, name) for name in names}, dict(table.about)
    if taken := about.get("corrections"):  # those that were taken in come first in their file
        about["corrections"] = len(without_tracklets(read_corrections(file)[:taken], keys))
        if about["corrections"] < taken:  # before they go: a number too small shows one twice, one too large hides one
            write_identities(Identities(columns, about), file)
    for place in named_and_real(file):
        removed.corrections += remove_tracklets(place, keys)
    removed.identities += sum(goes)
    if not any(keeps):
        places = named_and_real(file)
        _remove(file)
        removed.files.append(str(file))
        for corrections in filter(Path.exists, map(corrections_path, places)):
            _remove(corrections)
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
    own = os.path.realpath(plan.gallery)
    if gallery == plan.root and any(os.path.realpath(file) != own for file in files_in(gallery)):
        return False
    return not plan.gallery.exists() or set(open_gallery(plan.gallery).columns["tracklet_id"].tolist()) <= plan.names


def named_and_real(file: Path) -> list[Path]:
    """Return a path and, where it is a symbolic link, that of what it leads to."""
    return list(dict.fromkeys([file, Path(os.path.realpath(file)) if file.is_symlink() else file]))


def is_dangling(link: Path) -> bool:
    """Return whether a path is a symbolic link to something that is gone."""
    return link.is_symlink() and not link.exists()


def _remove_rows(plan: Plan, removed: Removed) -> None:
    if plan.gallery.exists():
        _rewrite(plan, removed)
    for link in filter(is_dangling, plan.links):
        link.unlink()
        removed.files.append(str(link))


def _rewrite(plan: Plan, removed: Removed) -> None:
    pa = pyarrow()
    table = pa.parquet.read_table(plan.gallery, page_checksum_verification=True)
    goes = [name in plan.names for name in table.column("tracklet_id").to_pylist()]
    left = table.filter(pa.array([not each for each in goes]))
    removed.rows, removed.rows_left = sum(goes), left.num_rows
    if not left.num_rows:
        for place in plan.places:
            note_forgotten(place)
        plan.gallery.unlink()
        removed.files.append(str(plan.gallery))
    elif any(goes):
        with atomic_file(plan.gallery) as half:
            pa.parquet.write_table(left, half, write_page_checksum=True)
