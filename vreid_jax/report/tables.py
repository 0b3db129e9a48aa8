"""Tables of texts, and matrices of shaded fractions."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from vreid_jax.report.rendering import render


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> Markup:
    """Return a table of texts; the first cell of a row is its heading.

    With an empty `head` the rows are facts: a name and what is known of it, which wraps on a narrow screen.
    """
    return render("table.html", head=head, rows=rows, caption=caption, facts=not any(head))


def matrix(values: np.ndarray, counts: np.ndarray, rows: Sequence, columns: Sequence, caption: str) -> Markup:
    """Return a table of fractions in percent, each cell shaded by its value.

    Args:
      values: `[R, C]` fractions.
      counts: `[R, C]` numbers of queries; where one is 0 the cell is empty.
      rows: R names.
      columns: C names.
      caption: text above the table.
    """
    lines = [(row, list(zip(*cells, strict=True))) for row, *cells in zip(rows, values, counts, strict=True)]
    return render("matrix.html", rows=lines, columns=columns, caption=caption)


def percent(value: float | int | None) -> str:
    """Return a fraction in percent with one decimal, or a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}"
