"""Whom to forget: named tracklets, an identity, or everybody seen before a moment."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.linking.identities import FORMAT, UNKNOWN, Identities, read_identities
from vreid_jax.search.address import is_address, real_gallery, stated_gallery
from vreid_jax.search.gallery import KEY, Gallery, pyarrow


@dataclasses.dataclass(frozen=True)
class Selection:
    """One way to say who is meant; exactly one of the four is given.

    Attributes:
      tracklets: `tracklet_id`s.
      identities: numbers in a file of identities.
      before: tracklets that ended before this.
      expired: tracklets that are kept longer than the gallery's metadata allow.

    Raises:
      InputError: when none is given, or several, or an identity that is nobody's number.
    """

    tracklets: Sequence[str] = ()
    identities: Sequence[int] = ()
    before: datetime.datetime | None = None
    expired: bool = False

    def __post_init__(self):
        given = [bool(self.tracklets), bool(self.identities), self.before is not None, self.expired]
        if sum(given) != 1:
            raise InputError("say who is to be forgotten by one of --tracklet, --identity, --before and --expired")
        for number in self.identities:
            if number <= UNKNOWN:
                raise InputError(
                    f"--identity={number} is not a person: people have numbers from 1, and {UNKNOWN} marks tracklets of "
                    "unknown people, who may be many; name these by --tracklet"
                )


def parse_moment(text: str) -> datetime.datetime:
    """Return a date, or a date and time, in ISO 8601; without a zone it is UTC, as in the metadata of galleries."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"--before={text} is not a date such as 2026-05-04, or 2026-05-04T08:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def choose(
    selection: Selection,
    path: Path,
    gallery: Gallery,
    identities: tuple[Path, Identities] | None,
    root: Path | None = None,
    source: str = "",
) -> list[str]:
    """Return the `tracklet_id`s of a gallery that are meant; names that it does not have are left out.

    A file of a folder `root` is asked for by the names of that folder, which begin with the `source` of the file.

    Raises:
      InputError: when the gallery does not say what the selection asks for, such as when it was recorded, or is of another
        recording than the one that was linked.
    """
    names = gallery.columns["tracklet_id"]
    before = f"{source}/" if root is not None else ""
    if selection.tracklets:
        asked = [name.removeprefix(before) for name in selection.tracklets if name.startswith(before)]
        return names[np.isin(names, asked)].tolist()
    if selection.identities:
        if identities is None:
            raise InputError(f"--identity needs the file that links {path}: name it with --identities")
        file, table = identities
        columns = table.columns
        chosen = np.isin(columns["identity"], list(selection.identities))
        asked = []
        for place, start in ((path, ""), *([] if root is None else [(root, before)])):
            if (stored := stored_name(place, file, table)) is None:
                continue
            called = {**gallery.columns, "tracklet_id": np.array([f"{start}{name}" for name in names.tolist()], str)}
            table.refuse_replaced(file, path, stored, called, gallery.about)
            linked = columns["tracklet_id"][chosen & (columns["gallery"] == stored)].tolist()
            asked += [name.removeprefix(start) for name in linked if name.startswith(start)]
        return names[np.isin(names, asked)].tolist()
    ends = _ends(path, gallery)
    if selection.before is not None:
        limit = selection.before.timestamp()
    else:
        limit = datetime.datetime.now(datetime.UTC).timestamp() - 86400 * _retention_days(path, gallery.about)
    return names[ends < limit].tolist()


def stored_name(gallery: Path, file: Path, identities: Identities) -> str | None:
    """Return what a file of identities calls a gallery; None where it does not link it."""
    paths = (each["path"] for each in identities.about["galleries"])
    return next((path for path in paths if is_stored_as(gallery, file, path)), None)


def is_stored_as(gallery: Path, file: Path, stored: str) -> bool:
    """Return whether a path that a file of identities states is that of a gallery."""
    folder = os.path.dirname(os.path.realpath(file))
    return os.path.realpath(os.path.join(folder, stored)) == os.path.realpath(gallery)


def numbers_in(gallery: Path, file: Path, identities: Identities) -> set[int]:
    """Return the identities that have a tracklet in a gallery."""
    columns = identities.columns
    return set(columns["identity"][columns["gallery"] == stored_name(gallery, file, identities)].tolist())


def linked_elsewhere(numbers: Sequence[int], file: Path, identities: Identities, named: Sequence[Path]) -> list[str]:
    """Return a sentence for each person and each gallery that was not `named` in which a file of identities has some of them."""
    real, columns, said = set(map(real_gallery, named)), identities.columns, []
    folder = (Path(os.path.realpath(file)) if file.is_symlink() else file).parent
    for stored in (each["path"] for each in identities.about["galleries"]):
        place = stated_gallery(folder, stored)
        if real_gallery(place) in real:
            continue
        advice = ": name it as well" if is_address(place) or Path(place).exists() else ", which is gone: link anew"
        for number in sorted(set(numbers)):
            if count := int(((columns["identity"] == number) & (columns["gallery"] == stored)).sum()):
                said.append(f"identity {number} has {count} tracklet{'s' * (count != 1)} in {place} too{advice}")
    return said


def identities_beside(gallery: Path, root: Path | None = None, links: Sequence[Path] = ()) -> list[Path]:
    """Return the files of identities in the folder of a gallery that link it, or the folder of galleries it is in.

    Those of a folder of galleries lie in it or beside it; those of a gallery also beside the `links` to it.
    """
    folders = [gallery.parent, *(link.parent for link in links), *([] if root is None else [root, root.parent])]
    files = {file for folder in folders for file in folder.glob("*.parquet") if file.is_file() and file != gallery}
    once = {os.path.realpath(file): file for file in sorted(files, reverse=True)}
    return [file for file in sorted(once.values()) if _is_of_identities(file) and _links(file, gallery, root)]


def _links(file: Path, gallery: Path, root: Path | None) -> bool:
    table = read_identities(file)
    places = [gallery] if root is None else [gallery, root]
    return any(stored_name(place, file, table) is not None for place in places)


def _is_of_identities(file: Path) -> bool:
    pa = pyarrow()
    try:
        metadata = pa.parquet.read_schema(file).metadata or {}
    except (pa.ArrowException, OSError):
        return False
    return FORMAT.encode() in metadata.get(KEY, b"")


def _ends(path: Path, gallery: Gallery) -> np.ndarray:
    """Return when each tracklet ended, seconds since 1970."""
    stated = gallery.about.get("recorded_at")
    if stated is None:
        raise InputError(
            f"{path} does not say when it was recorded, so its tracklets have no date: embed the video again with "
            "--start=DATETIME, or forget by --tracklet"
        )
    try:
        start = datetime.datetime.fromisoformat(stated)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path} states recorded_at={stated!r}, which is not a date and time: embed it again"
        ) from error
    start = start if start.tzinfo else start.replace(tzinfo=datetime.UTC)
    ends = start.timestamp() + gallery.columns["end_seconds"]
    if np.isnan(ends).any():
        name = gallery.columns["tracklet_id"][np.isnan(ends)][0]
        raise InputError(
            f"{name} of {path} has no time in its video, so its date is not known: forget it by --tracklet"
        )
    return ends


def _retention_days(path: Path, about: Mapping[str, Any]) -> float:
    days = about.get("retention_days")
    if not isinstance(days, int | float) or isinstance(days, bool) or not days >= 0:
        raise InputError(
            f"{path} does not say for how long its tracklets may be kept: embed with --retention-days, or give --before"
        )
    return float(days)
