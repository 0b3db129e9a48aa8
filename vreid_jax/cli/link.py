"""Link the tracklets of several galleries: one identity for each person, across cameras and times."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from vreid_jax.cli.numbers import decimal
from vreid_jax.errors import InputError
from vreid_jax.files import given_path, read_regular

log = logging.getLogger(__name__)

EXAMPLE = """vreid link north.parquet south.parquet --out=identities.parquet --page=identities.html
  vreid link east.parquet --into=identities.parquet"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "gallery",
        nargs="*",
        help="files that `vreid embed` wrote, folders or addresses of them, of one model; with --into: new ones",
    )
    parser.add_argument("--out", help="file to write, .parquet; with --into, to write instead of that one")
    parser.add_argument(
        "--into", help="file of identities to add to, or to correct: who is known keeps the number; written anew"
    )
    parser.add_argument(
        "--no-overlap", action="store_true", help="the cameras show different places: nobody is in two of them at once"
    )
    parser.add_argument("--cameras", help="TOML file: how many seconds people need from camera to camera")
    parser.add_argument(
        "--false-accept-rate",
        type=decimal,
        default=0.005,
        help="of the distance up to which tracklets are linked, a fraction",
    )
    parser.add_argument("--threshold", type=decimal, help="largest distance of one person, in place of a measured one")
    parser.add_argument("--page", help="also write a page of the identities, .html")
    parser.add_argument("--data-dir", help="of the page: where datasets are, for galleries made from one")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(flags: argparse.Namespace) -> dict:
    """Link; return what was written and what was found."""
    from vreid_jax import linking
    from vreid_jax.linking.corrections import (
        corrections_path,
        moved,
        rename_tracklets,
        set_aside,
        with_names,
        without_tracklets,
        write_corrections,
    )
    from vreid_jax.linking.linker import renamed_tracklets, replaced_tracklets
    from vreid_jax.search.unchanged import gallery_stamps, stamps_of, unchanged

    out, page = _checked(flags)
    folder = _folder_of(out)
    read = stamps_of([given_path(flags.into)] if flags.into else [])
    earlier = linking.read_identities(flags.into) if flags.into else None
    corrections = linking.read_corrections(flags.into or out)
    if corrections and not flags.into:
        log.warning(
            "%s was there already and its corrections hold: if they are of other recordings, remove it and %s and link again",
            corrections_path(out),
            out,
        )
    galleries = _galleries(flags, earlier)
    read |= gallery_stamps(*galleries)
    sightings = linking.open_sightings(galleries)
    if earlier is not None:
        source = _folder_of(given_path(flags.into))
        earlier = earlier.moved(source, folder)
        corrections = tuple(moved(each, source, folder) for each in corrections)
    known, renamed, replaced = len(corrections), {}, []
    if earlier is not None:
        renamed = renamed_tracklets(sightings, folder, earlier)
        earlier = earlier.with_names(renamed)
        replaced = replaced_tracklets(sightings, folder, earlier)
    corrections = without_tracklets([with_names(each, renamed) for each in corrections], replaced)
    walks = _walks(flags, earlier, set(sightings.camids.tolist()))
    no_overlap = flags.no_overlap or (earlier is not None and earlier.about["no_overlap"])
    band = linking.given_band(flags.threshold) if flags.threshold is not None else None
    band = band or linking.find_band(sightings, flags.false_accept_rate, no_overlap=no_overlap)
    with _Bars(quiet=flags.quiet) as tell:
        found = linking.link(
            sightings,
            folder,
            band,
            linking.LinkSettings(no_overlap=no_overlap, walks=walks),
            corrections=corrections,
            earlier=earlier,
            tell=tell,
        )
    with unchanged(read):
        if flags.out:
            _refuse_existing(out)  # nothing may have come there meanwhile
            if flags.into:
                write_corrections(out, corrections)
        else:  # first: corrections of replaced tracklets would seem to be of the new identities
            rename_tracklets(out, renamed)
            if replaced and (kept := set_aside(out, replaced)):
                log.warning("corrections of tracklets of another recording do not hold any more: they are in %s", kept)
        linking.write_identities(found, out)
    there = set(found.tracklets())
    applied = sum(each.says_of(there) for each in corrections)
    written = None
    if page:
        from vreid_jax import report

        try:
            written = str(report.write_identities_page(out, page, data_dir=flags.data_dir))
        except InputError as error:
            again = f"for the page alone, give --into={out} --page={page} without a gallery"
            raise InputError(f"{out} is written, its page is not: {error}; {again}") from error
    return {
        "out": str(out),
        "page": written,
        "galleries": [str(path) for path in sightings.paths],
        "tracklets": len(found),
        "corrections": applied,
        "not_applied": known - applied,
        **found.summary(),
        **{
            key: found.about[key]
            for key in ("metric", "threshold", "perhaps", "threshold_from", "fingerprint", "model")
        },
    }


def _walks(flags: argparse.Namespace, earlier, there: set[int]):
    """Return what is known of the ways between the cameras that are there: as given now, else as the earlier identities say."""
    from vreid_jax.linking.walking import check_cameras_of, read_walks, walks_of

    if flags.cameras:
        walks = read_walks(flags.cameras)
        check_cameras_of(walks, there, flags.cameras)
        return walks
    known = walks_of(earlier.about.get("walks", []), flags.into) if earlier is not None else ()
    for walk in (walk for walk in known if not there >= set(walk.cameras)):
        log.warning(
            "what --cameras once said of the cameras %d and %d is left out, since no gallery has one of them any more",
            *walk.cameras,
        )
    return tuple(walk for walk in known if there >= set(walk.cameras))


def _checked(flags: argparse.Namespace) -> tuple[Path, Path | None]:
    """Return the files to write."""
    from vreid_jax.linking.corrections import refuse_corrections

    if not flags.out and not flags.into:
        raise InputError("name the file of identities to write with --out, or one to add to with --into")
    if not flags.gallery and not flags.into:
        raise InputError("give at least one gallery")
    out = given_path(flags.out or flags.into)
    if out.suffix != ".parquet":
        raise InputError(f"the name of the file of identities, {out}, must end in .parquet")
    if flags.out:
        _refuse_existing(out)
    if flags.out and flags.into:
        refuse_corrections(out)
    if not out.absolute().parent.is_dir():
        raise InputError(f"the folder of {out} does not exist")
    page = given_path(flags.page) if flags.page else None
    if page and page.suffix not in (".html", ".htm"):
        raise InputError(f"--page={page} has to end in .html")
    if page:
        _check_page(page, out)
    return out, page


def _check_page(page: Path, out: Path) -> None:
    """Raise `InputError` when the page could not be written, before anything else is."""
    from vreid_jax.report.page import stated_source

    if not page.absolute().parent.is_dir():
        raise InputError(f"the folder of --page={page} does not exist")
    if not os.path.lexists(page):
        return
    try:
        noted = stated_source(read_regular(page).decode("utf-8", "replace"))
    except InputError as error:
        raise InputError(f"--page={page} cannot be replaced: {error}") from error
    if noted != f"identities {os.path.relpath(os.path.realpath(out), os.path.dirname(os.path.realpath(page)))}":
        raise InputError(f"--page={page} exists already and is not the page of {out}: name another file, or remove it")


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise InputError(f"{out} exists already: name another file, or add to it with --into={out}")


def _folder_of(identities: Path) -> Path:
    """Return the folder that the paths in a file of identities are relative to: of a link, that of what it leads to."""
    return Path(os.path.realpath(identities)).parent


def _galleries(flags: argparse.Namespace, earlier) -> list[Path | str]:
    """Return the galleries of the earlier identities, which are named relative to their file, and the new ones."""
    from vreid_jax.search.address import given_gallery, real_gallery, stated_gallery

    if earlier is None:
        return [given_gallery(path) for path in flags.gallery]
    folder = _folder_of(given_path(flags.into))
    known = [stated_gallery(folder, each["path"]) for each in earlier.about["galleries"]]
    real = {real_gallery(path) for path in known}
    return known + [path for path in map(given_gallery, flags.gallery) if real_gallery(path) not in real]


def text(outcome: dict) -> str:
    """Return a few lines."""
    lines = [
        f"{outcome['out']}: {outcome['identities']} people in {outcome['tracklets']} tracklets of "
        f"{counted(len(outcome['galleries']), 'gallery', 'galleries')}; {outcome['across_cameras']} of them in several cameras, "
        f"{outcome['unknown']} tracklets unknown",
        f"linked up to the {outcome['metric']} distance {outcome['threshold']:.4g}, perhaps up to "
        f"{outcome['perhaps']:.4g}: {outcome['threshold_from']}",
    ]
    if outcome["corrections"]:
        lines.append(
            f"{counted(outcome['corrections'], 'correction')} of a person {was(outcome['corrections'])} respected"
        )
    if outcome["not_applied"]:
        lines.append(
            f"{counted(outcome['not_applied'], 'correction')} {was(outcome['not_applied'])} not applied: "
            "the tracklets are in none of the galleries, or of another recording"
        )
    if outcome["page"]:
        lines.append(f"{outcome['page']}: open it in any browser")
    return "\n".join(lines)


def counted(count: int, one: str, several: str = "") -> str:
    """Return a number with its word."""
    return f"{count} {one if count == 1 else several or one + 's'}"


def was(count: int) -> str:
    """Return the verb for so many."""
    return "was" if count == 1 else "were"


class _Bars:
    """A progress bar for each part of the work, as `link` tells of it."""

    def __init__(self, *, quiet: bool):
        self._quiet, self._bar, self._what = quiet, None, ""

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, what: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if what != self._what:
            self.__exit__()
            self._what = what
            self._bar = tqdm(total=total, desc=what, disable=self._quiet, leave=False)
        assert self._bar is not None
        self._bar.update(done - self._bar.n)
