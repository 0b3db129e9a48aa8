"""The frame of a page: head, style and script inside, so that one file is all."""

import html
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from vreid_jax.errors import InputError

# No address outside the file can be asked for anything.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(title: str, sections: Mapping[str, str], intro: str = "") -> str:
    """A whole HTML document of `sections`, heading to HTML."""
    names = {heading: f"s{number}" for number, heading in enumerate(sections)}
    links = "".join(f'<a href="#{names[heading]}">{html.escape(heading)}</a>' for heading in sections)
    body = "".join(
        f'<section id="{names[heading]}"><h2>{html.escape(heading)}</h2>{content}</section>'
        for heading, content in sections.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
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
    caption = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    kind = "" if any(head) else ' class="facts"'
    return f'<div class="wide"><table{kind}>{caption}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def percent(value: float | int | None) -> str:
    """A fraction in percent, a dash for none."""
    return "–" if value is None else f"{100 * value:.1f}"


def write_page(path: Path, text: str) -> Path:
    """Write a page in one piece, over an earlier page only; `InputError` where that cannot be."""
    if path.is_file() and POLICY not in path.read_text(encoding="utf-8", errors="replace")[:1000]:
        raise InputError(f"{path} is there already and is no page of this library: name another file, or remove it")
    half = path.with_name(f".{path.name}.tmp")
    try:
        half.write_text(text, encoding="utf-8")
        os.replace(half, path)
    except OSError as error:
        raise InputError(f"cannot write the page {path}: {error.strerror}") from error
    return path


def _read(name: str) -> str:
    return (resources.files("vreid_jax.report") / name).read_text()
