"""The frame of a page: head, style and script inside, so that the page is a single file."""

import html
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file
from vreid_jax.report.rendering import render
from vreid_jax.search.address import given_gallery
from vreid_jax.search.unchanged import Stamp, unchanged

_BLURRED = '<meta name="vreid-heads" content="blurred">'
_SOURCE = re.compile(
    r'<!doctype html>\s*<html lang="en">\s*<head>\s*<meta charset="utf-8">\s*<meta name="vreid-source" content="([^"]*)">'
)


def write_page(
    path: Path,
    kind: str,
    made_of: Sequence[str | Path],
    title: str,
    sections: Mapping[str, Markup],
    *,
    intro: str = "",
    caution: str = "",
    blurred: bool = False,
    read: Mapping[Path, Stamp | None] | None = None,
) -> Path:
    """Write a page in one piece.

    The page records its kind and its sources, relative to its own folder, so that both can be moved together.

    Args:
      path: file to write.
      kind: what the page is of: "run", "comparison", "gallery" or "identities".
      made_of: files or folders that the page was made of.
      title: heading of the page.
      sections: heading of each section and its content.
      intro: sentence below the title.
      caution: emphasised sentence below the intro.
      blurred: whether the heads in its pictures are blurred; the page states it.
      read: stamps of the files of people that it was made of, from before they were read.

    Returns:
      `path`.

    Raises:
      InputError: when the file cannot be written, or would replace anything but an earlier version of the same page, or
        one with blurred heads by one where they are not, and when a file that was read has changed since.
    """
    # `Path.resolve` raises for circular links on Python 3.11 and 3.12.
    folder = os.path.dirname(os.path.realpath(path))
    places = [_stated(each, folder) for each in made_of]
    source = f"{kind} {', '.join(places)}"
    _check_replaceable(path, source, blurred)
    text = page_text(source, title, sections, intro=intro, caution=caution, blurred=blurred)
    with unchanged(read or {}), atomic_file(path) as half:
        half.write_text(text, encoding="utf-8")
    return path


def page_text(
    source: str,
    title: str,
    sections: Mapping[str, Markup],
    *,
    intro: str = "",
    caution: str = "",
    blurred: bool = False,
) -> str:
    """Return the text of a page that says it was made of `source`; other arguments are those of `write_page`."""
    return render(
        "page.html",
        source=source,
        title=title,
        sections=sections,
        intro=intro,
        caution=caution,
        heads=Markup(_BLURRED) if blurred else "",
        style=_read_markup("style.css"),
        script=_read_markup("script.js"),
    )


def stated_source(page: str) -> str | None:
    """Return what a page says that it was made of, `KIND FILE, FILE …`; None for a text that is not a page."""
    noted = _SOURCE.match(page)
    return html.unescape(noted[1]) if noted else None


def _stated(source: str | Path, folder: str) -> str:
    """Return how a page in a folder states what it was made of: by its path relative to it, or by its address."""
    place = given_gallery(source)
    return place if isinstance(place, str) else os.path.relpath(os.path.realpath(place), folder)


def _check_replaceable(path: Path, source: str, blurred: bool) -> None:
    """Raise `InputError` when `path` holds anything but an earlier page of `source`, or one with heads better hidden."""
    try:
        earlier = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"cannot write {path} over what is there: {error.strerror}") from error
    noted = stated_source(earlier)
    found = "not a page of this library" if noted is None else f"the page of another source ({noted})"
    if noted != source:
        raise InputError(f"{path} exists already and is {found}: name another file with --out, or remove it")
    if not blurred and _BLURRED in earlier.partition("<title>")[0]:
        raise InputError(
            f"{path} exists already with blurred heads, and the new page would show them: name another file with --out, or "
            "give --blur-faces"
        )


def _read_markup(name: str) -> Markup:
    """Return a file of this package that a page includes as it is."""
    return Markup((resources.files("vreid_jax.report") / name).read_text(encoding="utf-8"))
