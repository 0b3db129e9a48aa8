"""The proof: every file that could hold what was forgotten is read again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from vreid_jax.forgetting.plan import Plan, pictures_in
from vreid_jax.forgetting.removal import copies_of, is_dangling, named_and_real, pages_of, tracks_of, without_tracks
from vreid_jax.forgetting.selection import is_stored_as, stored_name
from vreid_jax.linking.corrections import corrections_path, read_corrections
from vreid_jax.linking.identities import read_identities
from vreid_jax.search.gallery import open_gallery

_BLOCK = 1 << 22  # bytes of a file that are looked at together


def prove(plan: Plan) -> list[str]:
    """Return what was checked, a sentence each.

    Raises:
      RuntimeError: when something is still there.
    """
    checked: list[str] = []
    _no_pictures(plan, checked)
    _no_copies(plan, checked)
    _not_in_tracks(plan, checked)
    _not_in_gallery(plan, checked)
    for file in plan.identities:
        _not_in_identities(plan, file, checked)
    return checked


def _expect(right: bool, words: str) -> None:
    if not right:
        raise RuntimeError(f"not everything is gone: {words}; give the same command again")


def _no_pictures(plan: Plan, checked: list[str]) -> None:
    folders = [tracklet.folder for tracklet in plan.tracklets if tracklet.folder]
    for folder in folders:
        _expect(not pictures_in(Path(folder)), f"{folder} has pictures")
    if folders:
        checked.append(f"no picture is in their folders, {len(folders)} of them")


def _no_copies(plan: Plan, checked: list[str]) -> None:
    for file in [*copies_of(plan), *pages_of(plan)]:
        _expect(False, f"{file} is there")
    checked.append(f"no index, part or page of {plan.gallery.name}, or page of its identities, lies beside it")


def _not_in_tracks(plan: Plan, checked: list[str]) -> None:
    for file in filter(Path.is_file, tracks_of(plan)):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        _expect(without_tracks(lines, plan.names) == lines, f"{file} has boxes of theirs")
        checked.append(f"no box in {file.name} is theirs")


def _not_in_gallery(plan: Plan, checked: list[str]) -> None:
    if not plan.gallery.exists():
        left = [link for link in plan.links if is_dangling(link)]
        _expect(not left, f"{next(iter(left), '')} is there, which led to the gallery")
        links = f", with {'the link' if len(plan.links) == 1 else 'the links'} to it" if plan.links else ""
        checked.append(f"{plan.gallery.name} is gone{links}: nobody else was in it")
        return
    gallery = open_gallery(plan.gallery)
    left = plan.names & set(gallery.columns["tracklet_id"].tolist())
    _expect(not left, f"{plan.gallery} names {next(iter(left), '')}")
    digests = {each.digest for each in plan.tracklets} - set(plan.shared)
    found = [vector for vector in gallery.vectors if hashlib.sha256(vector.tobytes()).hexdigest() in digests]
    _expect(not found, f"{plan.gallery} has a vector of theirs")
    _no_bytes(plan, plan.gallery)
    checked.append(f"none of the {len(gallery)} tracklets in {plan.gallery.name} has their names or vectors")


def _not_in_identities(plan: Plan, file: Path, checked: list[str]) -> None:
    if not file.exists():
        return
    table = read_identities(file)
    _expect(not _names_one(plan, file, table.tracklets()), f"{file} names one of them")
    is_gone = not plan.gallery.exists()
    _expect(not (is_gone and stored_name(plan.gallery, file, table)), f"{file} lists {plan.gallery.name}")
    for place in named_and_real(file):
        corrected = [key for each in read_corrections(place) for key in (*each.tracklets, *each.others)]
        _expect(not _names_one(plan, file, corrected), f"{corrections_path(place)} names one of them")
    _no_bytes(plan, file)
    checked.append(f"{file.name} and its corrections name none of them")


def _names_one(plan: Plan, file: Path, keys: Iterable[tuple[str, str]]) -> bool:
    return any(
        name in names and is_stored_as(gallery, file, stored) for stored, name in keys for gallery, names in plan.called
    )


def _no_bytes(plan: Plan, file: Path) -> None:
    """Check that a file does not contain the bytes of a vector, wherever in it they might stand."""
    shared = set(plan.shared)
    names = {bytes.fromhex(each.prefix): each.name for each in plan.tracklets if each.digest not in shared}
    found = _first_in(file.read_bytes(), names)
    _expect(found is None, f"{file} holds bytes of a vector of {names.get(found or b'')}")


def _first_in(content: bytes, wanted: Collection[bytes]) -> bytes | None:
    """Return the first of some texts of one length, at least three bytes, that stands in `content`, in one pass for all."""
    if not wanted:
        return None
    length = len(next(iter(wanted)))
    begins = np.zeros(1 << 24, np.bool_)  # by the first three bytes: where nothing begins no text is looked up
    begins[[int.from_bytes(each[:3], "little") for each in wanted]] = True
    whole = np.frombuffer(content, np.uint8)
    for start in range(0, len(content) - length + 1, _BLOCK):
        first, second, third = (whole[start + at : start + at + _BLOCK].astype(np.int32) for at in range(3))
        few = len(third)
        for place in np.flatnonzero(begins[first[:few] | second[:few] << 8 | third << 16]).tolist():
            if (text := content[start + place : start + place + length]) in wanted:
                return text
    return None
