"""Rows of walking tracklets in a page, under buttons that filter them."""

import dataclasses
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from vreid_jax.report.rendering import render


@dataclasses.dataclass(frozen=True)
class Film:
    """One tracklet of a row.

    Attributes:
      kind: its frame: "asked" (the query), "right" (solid), "wrong" (dashed) or "open" (undecided).
      words: what it is, e.g. "query"; the last line below the picture, empty where nothing is said.
      lines: further lines below the picture, above `words`; empty ones are left out.
      who: its name, for the pointer and for screen readers.
      address: data address of the film strip.
    """

    kind: str
    words: str
    lines: list[str]
    who: str
    address: str


@dataclasses.dataclass(frozen=True)
class FilmRow:
    """A query and what was found for it.

    Attributes:
      kind: which filter shows the row.
      camera: camera of the query.
      heading: text above the row.
      films: the query, then the tracklets found.
    """

    kind: str
    camera: int
    heading: str
    films: Sequence[Film]


def film_rows(rows: Sequence[FilmRow], kinds: Mapping[str, str], explanation: str) -> Markup:
    """Return rows of films under their filters.

    Args:
      rows: the rows, in the order of the page.
      kinds: each kind of row and the label of its button; "all" first; empty for rows that are all of one kind.
      explanation: text above the filters.
    """
    return render("film_rows.html", rows=rows, kinds=kinds, explanation=explanation)
