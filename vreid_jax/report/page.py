"""The frame of a page: head, style and script inside, so that one file is all."""

import html
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file

# No address outside the file can be asked for anything.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
START = '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="vreid-source" content="'


def _page(source: str, title: str, sections: Mapping[str, str], intro: str) -> str:
    names = {heading: f"s{number}" for number, heading in enumerate(sections)}
    links = "".join(f'<a href="#{names[heading]}">{html.escape(heading)}</a>' for heading in sections)
    body = "".join(
        f'<section id="{names[heading]}"><h2>{html.escape(heading)}</h2>{content}</section>'
        for heading, content in sections.items()
    )
    return (
        f'{START}{html.escape(source)}">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(title)}</title><link rel="icon" href="data:,">'
        f"<style>{_read('style.css')}</style></head><body>"
        f"<header><h1>{html.escape(title)}</h1>{intro}<nav>{links}</nav></header><main>{body}</main>"
        f"<script>{_read('script.js')}</script></body></html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table of texts; the first cell of a row is its heading."""
    top = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>{"".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    kind = "" if any(head) else ' class="facts"'
    return wide(f"<table{kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>", caption)


def wide(content: str, caption: str = "") -> str:
    """What may be wider than a screen, in a box that scrolls, under a caption that does not."""
    above = f'<p class="caption">{html.escape(caption)}</p>' if caption else ""
    return f'{above}<div class="wide">{content}</div>'


def percent(value: float | int | None) -> str:
    """A fraction in percent, a dash for none."""
    return "–" if value is None else f"{100 * value:.1f}"


def write_page(
    path: Path, kind: str, made_of: Sequence[str | Path], title: str, sections: Mapping[str, str], intro: str = ""
) -> Path:
    """Write the page of `sections`, heading to HTML, in one piece; returns its path.

    It notes its kind and the files or folders that it was made of, as seen from its own place: both can be moved.

    Raises:
      InputError: where it cannot be written, or would replace something else than the same page.
    """
    # `Path.resolve` is an error for links in a circle on Python 3.11 and 3.12.
    folder = os.path.dirname(os.path.realpath(path))
    places = [os.path.relpath(os.path.realpath(Path(each).expanduser()), folder) for each in made_of]
    source = f"{kind} {', '.join(places)}"
    _check_free(path, source)
    with atomic_file(path) as half:
        half.write_text(_page(source, title, sections, intro), encoding="utf-8")
    return path


def _check_free(path: Path, source: str) -> None:
    try:
        earlier = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"cannot write {path} over what is there: {error.strerror}") from error
    noted = re.match(re.escape(START) + '([^"]*)"', earlier)
    found = f"the page of another source ({html.unescape(noted[1])})" if noted else "not made by this version"
    if noted is None or html.unescape(noted[1]) != source:
        raise InputError(f"{path} is there already and is {found}: name another file with --out, or remove it")


def _read(name: str) -> str:
    return (resources.files("vreid_jax.report") / name).read_text()
