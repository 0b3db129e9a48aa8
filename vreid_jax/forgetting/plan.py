"""What is to be removed, written down before anything is: a forget that was killed goes on by it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.datasets.manual.files import is_litter
from vreid_jax.datasets.pictures import SUFFIXES
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file
from vreid_jax.json_files import read_json
from vreid_jax.search.gallery import Gallery, made_from
from vreid_jax.search.sources import is_cut_for

FORMAT = "vreid_jax-forget-2"
SUFFIX = ".forget.json"
PREFIX = 16  # numbers of a vector that are looked for in the bytes of files

_SHAPE = {
    "format": str,
    "tracklets": [{"name": str, "folder": str, "frames": int, "digest": str, "prefix": str, "stated?": str}],
    "shared": [str],
    "identities": [str],
    "root": str,
    "source": str,
    "links?": [str],
}


@dataclasses.dataclass(frozen=True)
class Doomed:
    """A tracklet that is to be forgotten.

    Attributes:
      name: `tracklet_id`.
      folder: of its pictures, empty where they are of the input itself, a dataset or a folder: they stay; and where they were
        not found.
      frames: how many they were.
      digest: of the bytes of its vector.
      prefix: the first bytes of its vector, in hexadecimal.
      stated: where the gallery says that its pictures are, if those that belong to it are elsewhere, or were not found.
    """

    name: str
    folder: str
    frames: int
    digest: str
    prefix: str
    stated: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be removed of one gallery.

    Attributes:
      gallery: the file.
      tracklets: to forget.
      shared: digests among theirs that tracklets which stay have too: the same vector, which proves nothing.
      identities: files of identities that link the gallery.
      root: the folder that was named, where the gallery is one of its files.
      source: what names in that folder begin with.
      links: symbolic links to the gallery, by which it was named or found.
    """

    gallery: Path
    tracklets: tuple[Doomed, ...]
    shared: tuple[str, ...]
    identities: tuple[Path, ...]
    root: Path | None = None
    source: str = ""
    links: tuple[Path, ...] = ()

    @property
    def places(self) -> tuple[Path, ...]:
        """The gallery, and the links to it: what belongs to it may lie beside each."""
        return (self.gallery, *self.links)

    @functools.cached_property  # it is asked for again for every row of a file
    def called(self) -> list[tuple[Path, set[str]]]:
        """The names by which other files know the tracklets, with the gallery that these name beside them."""
        own = [(self.gallery, self.names)]
        return own if self.root is None else [*own, (self.root, {f"{self.source}/{name}" for name in self.names})]

    @functools.cached_property
    def names(self) -> set[str]:
        """The `tracklet_id`s."""
        return {each.name for each in self.tracklets}


def make_plan(
    path: Path,
    gallery: Gallery,
    names: list[str],
    identities: list[Path],
    root: Path | None = None,
    source: str = "",
    links: tuple[Path, ...] = (),
) -> Plan:
    """Return the plan for some tracklets of a gallery.

    Raises:
      InputError: when a folder holds more pictures than the tracklet had, or is that of a tracklet that stays: it is then
        not clear whose pictures would be removed.
    """
    columns = gallery.columns
    stated = columns["folder"].tolist()
    if os.path.isdir(made_from(gallery.about, columns["folder"], path)):  # its pictures were not cut out of a video
        stated = [""] * len(stated)
    parents = {os.path.dirname(folder) for folder in stated if folder}
    cut = {parent: _pictures_for(gallery.about, Path(parent), [path, *links]) for parent in parents}
    folders = [_moved(folder, cut[os.path.dirname(folder)]) if folder else "" for folder in stated]
    meant = np.isin(columns["tracklet_id"], names)
    kept = {folder for folder, goes in zip(folders, meant.tolist(), strict=True) if not goes}
    tracklets = []
    for row in np.flatnonzero(meant).tolist():
        data = gallery.vectors[row].tobytes()
        one = Doomed(
            columns["tracklet_id"][row].item(),
            folders[row],
            columns["num_frames"][row].item(),
            hashlib.sha256(data).hexdigest(),
            data[: 4 * PREFIX].hex(),
            stated[row] if folders[row] != stated[row] else "",
        )
        _check_folder(one, kept)
        tracklets.append(one)
    staying = {hashlib.sha256(vector.tobytes()).hexdigest() for vector in gallery.vectors[~meant]}
    shared = sorted(staying & {each.digest for each in tracklets})
    return Plan(path, tuple(tracklets), tuple(shared), tuple(identities), root, source, links)


def _pictures_for(about: Mapping[str, Any], cut: Path, places: Sequence[Path]) -> Path | None:
    """Return the folder into which the pictures of a gallery were cut, which it says is `cut`; None where there is none.

    Where that is gone, or beside another gallery of the same name, of which this one is a copy, it is the folder of the same
    name beside the gallery, or beside a link to it, if it was cut out of the same video.
    """
    is_there = cut.is_absolute() and os.path.isdir(cut)
    beside = [place.parent / cut.name for place in places]
    is_copy = os.path.exists(cut.parent / places[0].name) and os.path.realpath(cut) not in map(os.path.realpath, beside)
    if is_there and not is_copy:
        return cut
    return next((folder for folder in beside if is_cut_for(folder, about)), cut if is_there else None)


def _moved(folder: str, parent: Path | None) -> str:
    """Return where the pictures of a tracklet are, whose `folder` lies in `parent` now; empty where that is None."""
    if parent is None or parent == Path(folder).parent:
        return folder if parent else ""
    return os.path.abspath(parent / os.path.basename(folder))


def _check_folder(tracklet: Doomed, staying: set[str]) -> None:
    if not tracklet.folder:
        return
    if tracklet.folder in staying:
        raise InputError(f"the pictures of {tracklet.name} are also those of a tracklet that stays: forget both")
    count = len(pictures_in(Path(tracklet.folder)))
    if count > tracklet.frames:
        raise InputError(
            f"{tracklet.folder} has {count} pictures, and {tracklet.name} was {tracklet.frames} of them: it is not clear "
            "whose they are; move the others away"
        )


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures that lie in a folder, those in folders below it left out; none where there is no folder."""
    if not folder.is_absolute() or not folder.is_dir():
        return []
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not is_litter(file.name) and file.is_file()
    )


def journal_of(gallery: Path) -> Path:
    """Return where the plan of a gallery is noted while it is carried out."""
    return gallery.with_name(f"{gallery.name}{SUFFIX}")


def write_journal(plan: Plan) -> None:
    """Note a plan beside its gallery."""
    content = {
        "format": FORMAT,
        "tracklets": [dataclasses.asdict(each) for each in plan.tracklets],
        "shared": list(plan.shared),
        "identities": [os.path.abspath(file) for file in plan.identities],
        "root": "" if plan.root is None else str(plan.root.resolve()),
        "source": plan.source,
        "links": [os.path.abspath(link) for link in plan.links],
    }
    with atomic_file(journal_of(plan.gallery)) as half:
        half.write_text(json.dumps(content), encoding="utf-8")


def read_journal(gallery: Path) -> Plan | None:
    """Return the plan that an earlier, killed call has noted, or None.

    Raises:
      InputError: when the file is damaged.
    """
    file = journal_of(gallery)
    if not file.exists():
        return None
    content = read_json(file, _SHAPE)
    if content["format"] != FORMAT:
        raise InputError(f"{file} is of the format {content['format']!r} and not {FORMAT}: another version wrote it")
    return Plan(
        gallery,
        tuple(Doomed(**each) for each in content["tracklets"]),
        tuple(content["shared"]),
        tuple(map(Path, content["identities"])),
        Path(content["root"]) if content["root"] else None,
        content["source"],
        tuple(map(Path, content.get("links", []))),
    )
