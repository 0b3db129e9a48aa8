"""Forget people of galleries: choose, note, remove, prove."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from vreid_jax.errors import InputError
from vreid_jax.files import given_path
from vreid_jax.forgetting.plan import Plan, journal_of, make_plan, read_journal, write_journal
from vreid_jax.forgetting.proof import prove
from vreid_jax.forgetting.removal import Removed, copies_of, pages_of, remove
from vreid_jax.forgetting.selection import Selection, choose, identities_beside, linked_elsewhere, numbers_in
from vreid_jax.forgetting.targets import Target, targets_of
from vreid_jax.linking.identities import read_identities
from vreid_jax.search.gallery import open_gallery, read_about
from vreid_jax.search.sources import RECORD, video_of
from vreid_jax.search.unchanged import held


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one gallery.

    Attributes:
      gallery: the file.
      tracklets: `tracklet_id`s that were forgotten, or that would be.
      resumed: those among them that an earlier call, which was killed, had begun with.
      removed: what was removed; of a dry run, nothing.
      would_remove: of a dry run: files beside the gallery that would go.
      proof: what was checked afterwards.
      not_covered: where more may be, and what to do about it.
    """

    gallery: str
    tracklets: list[str]
    resumed: list[str]
    removed: Removed
    would_remove: list[str]
    proof: list[str]
    not_covered: list[str]


def forget(
    galleries: Sequence[str | Path],
    selection: Selection,
    *,
    identities: str | Path | None = None,
    dry_run: bool = False,
) -> list[Outcome]:
    """Remove all that is kept of some tracklets, and prove that it is gone.

    What is removed: rows of the galleries with the vectors, the folders of pictures, the index of an approximate search,
    parts of interrupted embeddings, pages of the library beside a gallery that were made of it, rows of identities, and
    corrections, and lines of the tracks that `vreid embed` keeps beside a gallery. A gallery without anybody left is removed too. A call that was killed is finished by the next one.

    Args:
      galleries: files that `vreid embed` wrote, or folders of them, of which only the files that hold somebody are changed.
      selection: who is meant, in any of the galleries.
      identities: file that `vreid link` wrote, by whose numbers people are named; those in the folder of each gallery that
        link it are cleaned too.
      dry_run: whether to change nothing, and say what would be removed.

    Raises:
      InputError: when nobody is named so, or somebody in several galleries, a gallery cannot be used or changed, or it does not say what is asked for.
      RuntimeError: when something is still there afterwards.
    """
    targets = targets_of(galleries, selection)
    paths = [target.path for target in targets]
    named = given_path(identities) if identities else None
    with held(paths):
        done = {path: read_journal(path) for path in paths}
        resumed = {path: _carry_out(plan) for path, plan in done.items() if plan is not None and not dry_run}
        plans = _make_plans(targets, selection, named, done)
        if not dry_run:
            for plan in plans.values():
                if plan.tracklets:
                    write_journal(plan)
        outcomes = []
        for path in paths:
            elsewhere = _elsewhere(targets, selection, named, [done[path], plans.get(path)])
            outcomes.append(_outcome(path, plans.get(path), done[path], resumed.get(path), dry_run, elsewhere))
    for target in targets:
        _remove_empty_folders(target)
    # Of a folder only the files that hold somebody who is meant are told of, unless nobody is.
    told = [each for each, target in zip(outcomes, targets, strict=True) if each.tracklets or target.root is None]
    return told or outcomes[:1]


def _remove_empty_folders(target: Target) -> None:
    """Remove the folders between a file that is gone and the folder that was named, if nothing else lies in them."""
    if target.root is None or target.path.exists():
        return
    for place in (target.path, *target.links):
        for folder in place.parents:
            if target.root not in folder.parents:
                break
            with contextlib.suppress(OSError):
                folder.rmdir()


def _make_plans(
    targets: Sequence[Target], selection: Selection, named: Path | None, done: dict[Path, Plan | None]
) -> dict[Path, Plan]:
    """Return what is to be removed of each gallery that is still there.

    Raises:
      InputError: when a name is in none of them, or in several, where it is that of different people.
    """
    plans = {}
    numbers: set[int] = set()
    finished = {name for plan in done.values() if plan for name in _called(plan)}
    for target in targets:
        path, root, source = target.path, target.root, target.source
        if not path.exists() and done[path] is not None:
            continue  # the earlier call has removed it
        gallery = open_gallery(path)
        beside = identities_beside(path, root, target.links)
        if selection.identities and not named and len(beside) > 1:
            raise InputError(f"{beside[0]} and {beside[1]} both link {path}: name one with --identities")
        file = named or next(iter(beside), None)
        linked = (file, read_identities(file)) if file else None
        if linked:
            numbers |= numbers_in(path, *linked) | (set() if root is None else numbers_in(root, *linked))
        plans[path] = make_plan(
            path,
            gallery,
            choose(selection, path, gallery, linked, root, source),
            _files(named, beside),
            root,
            source,
            target.links,
        )
    _check_unambiguous(selection, plans)
    found = {name for plan in plans.values() for name in _called(plan)} | finished
    missing = sorted(set(selection.tracklets) - found)
    if missing:
        raise InputError(f"{missing[0]} is not a tracklet of {_named(targets)}")
    unknown = sorted(set(selection.identities) - numbers)
    if unknown and not finished:  # the earlier call has removed their rows
        raise InputError(f"identity {unknown[0]} has no tracklet in {_named(targets)}")
    return plans


def _called(plan: Plan) -> set[str]:
    """Return the names by which a person asks for the tracklets of a plan: of a folder, those of the folder."""
    return plan.called[-1][1]


def _named(targets: Sequence[Target]) -> str:
    """Return the galleries that were named."""
    return ", ".join(dict.fromkeys(str(target.path if target.root is None else target.root) for target in targets))


def _files(named: Path | None, beside: list[Path]) -> list[Path]:
    """Return the files of identities to clean: the one that was named, and all that lie beside the gallery."""
    others = [file for file in beside if named is None or os.path.realpath(file) != os.path.realpath(named)]
    return ([named] if named else []) + others


def _check_unambiguous(selection: Selection, plans: dict[Path, Plan]) -> None:
    for name in selection.tracklets:
        having = [path for path, plan in plans.items() if name in _called(plan)]
        if len(having) > 1:
            raise InputError(f"{name} is somebody in {having[0]} and somebody else in {having[1]}: name one gallery")


def _elsewhere(
    targets: Sequence[Target], selection: Selection, named: Path | None, plans: Sequence[Plan | None]
) -> list[str]:
    """Return in which galleries that were not named the people of a plan are as well, as their identities say."""
    of_somebody = [plan for plan in plans if plan is not None and plan.tracklets]
    files = [named] if named else [file for plan in of_somebody[-1:] for file in plan.identities[:1]]
    if not selection.identities or not of_somebody or not files or not files[0].exists():
        return []
    here = [place for target in targets for place in (target.path, target.root) if place is not None]
    return linked_elsewhere(selection.identities, files[0], read_identities(files[0]), here)


def _carry_out(plan: Plan) -> tuple[Removed, list[str]]:
    """Remove and prove; then nothing is left to be noted."""
    removed = remove(plan)
    proof = prove(plan)
    journal_of(plan.gallery).unlink()
    return removed, proof


def _outcome(
    path: Path,
    plan: Plan | None,
    earlier: Plan | None,
    resumed: tuple[Removed, list[str]] | None,
    dry_run: bool,
    elsewhere: list[str],
) -> Outcome:
    removed, proof = resumed or (Removed(), [])
    not_covered = elsewhere + _not_covered(path, [each for each in (earlier, plan) if each is not None])
    would_remove = []
    if plan is not None and plan.tracklets and dry_run:
        pictures = [
            tracklet.folder for tracklet in plan.tracklets if tracklet.folder and os.path.isdir(tracklet.folder)
        ]
        would_remove = [*pictures, *map(str, [*pages_of(plan), *copies_of(plan)])]
    elif plan is not None and plan.tracklets:
        more, proof = _carry_out(plan)
        removed = Removed(
            removed.rows + more.rows,
            more.rows_left,
            removed.pictures + more.pictures,
            removed.files + more.files,
            removed.identities + more.identities,
            removed.corrections + more.corrections,
            removed.boxes + more.boxes,
        )
    before, now = sorted(earlier.names) if earlier else [], sorted(plan.names) if plan else []
    return Outcome(str(path), sorted({*before, *now}), before, removed, would_remove, proof, not_covered)


def _not_covered(path: Path, plans: Sequence[Plan]) -> list[str]:
    """Return where more of the forgotten may be."""
    if not any(plan.tracklets for plan in plans):
        return []
    said = []
    try:
        source = read_about(path)["input"]
    except InputError:
        source = "its input"
    tracklets = [tracklet for plan in plans for tracklet in plan.tracklets]
    if any(not tracklet.folder and not tracklet.stated for tracklet in tracklets):
        said.append(
            f"the pictures lie in {source}, which is not changed: remove them there"
            if os.path.isdir(source)
            else f"the pictures lie in the dataset {source}, which is not changed: build it again without them"
        )
    found = {tracklet.folder for tracklet in tracklets}  # of a call that was killed: what it has removed is gone
    lost = [each.stated for each in tracklets if not each.folder and each.stated and each.stated not in found]
    said += [
        f"the pictures were in {folder}, which is gone: if they were moved, remove them there"
        for folder in sorted({source if Path(source) in Path(each).parents else os.path.dirname(each) for each in lost})
    ]
    said += [
        f"{folder}, which the gallery names, has pictures too, beside another gallery of that name: if this one is a copy of it, "
        "forget them there as well"
        for folder in _parents([each.stated for each in tracklets if each.folder and os.path.isdir(each.stated)])
    ]
    said.append(f"{source}, from which the gallery was made, is not changed: embedded again, they are back")
    said += [
        f"{folder} has other pictures that were cut out of {source}, by `vreid adapt` or for another gallery: remove those of "
        "the forgotten there"
        for folder in _other_pictures(plans, source)
    ]
    said.append(
        "pages, identities and galleries in other folders, models adapted to this footage, backups, and blocks that the disk has freed"
    )
    said.append(
        "audit logs keep the names of tracklets that were searched for, compared, corrected or looked at, and the names that "
        "people were given in corrections, without pictures or vectors"
    )
    return said


def _parents(folders: Sequence[str]) -> list[str]:
    """Return the folders that some folders lie in."""
    return sorted(set(map(os.path.dirname, folders)))


def _other_pictures(plans: Sequence[Plan], source: str) -> list[Path]:
    """Return the folders beside a gallery, or in its folder, of other pictures that were cut out of its video."""
    named = [folder for plan in plans for each in plan.tracklets for folder in (each.folder, each.stated) if folder]
    own = set(map(os.path.realpath, _parents(named)))
    beside = {place.parent for plan in plans for place in plan.places}
    beside |= {folder for plan in plans if plan.root is not None for folder in (plan.root, plan.root.parent)}
    found = {os.path.realpath(file.parent): file.parent for folder in beside for file in folder.glob(f"*/{RECORD}")}
    name = os.path.basename(source)
    return sorted(folder for real, folder in found.items() if real not in own and video_of(folder) == name)
