"""Rows of walking tracklets in a page: the filters above them, a row with its heading, one tracklet."""

import html
from collections.abc import Iterable, Mapping, Sequence


def filters(kinds: Mapping[str, str], cameras: Iterable[int]) -> str:
    """Buttons that show rows of one kind (`data-kind` to its label, "all" first) and a choice of the query's camera."""
    buttons = "".join(
        f'<button data-show="{kind}" aria-pressed="false">{html.escape(text)}</button>' for kind, text in kinds.items()
    )
    options = "".join(f'<option value="{camera}">camera {camera}</option>' for camera in sorted(set(cameras)))
    return (
        f'<div class="filters" role="group" aria-label="which lists">{buttons}'
        f'<label>query of <select id="camera"><option value="">every camera</option>{options}</select></label>'
        '<span id="shown" role="status"></span></div>'
    )


def row(kind: str, camera: int, heading: str, items: Sequence[str]) -> str:
    """A query and what was found, of `item`s; `kind` is one of the filters'."""
    return (
        f'<article class="query" data-kind="{kind}" data-camera="{camera}">'
        f'<h3>{html.escape(heading)}</h3><ol class="row">{"".join(items)}</ol></article>'
    )


def item(kind: str, words: str, lines: Sequence[str], who: str, film: str) -> str:
    """One tracklet: its `film`, `lines` under it, and `words` that say what it is.

    `kind` is "asked", "right" (solid frame), "wrong" (dashed) or "open"; `who` names it for a pointer and a reader.
    """
    below = "<br>".join(html.escape(line) for line in (*lines, words) if line)
    return (
        f'<li class="item {kind}" tabindex="0" title="{html.escape(who)}">'
        f'<div class="film"><img alt="{html.escape(f"{words}: {who}")}" src="{film}"></div>{below}</li>'
    )
