"""Line plots and matrices as SVG and HTML text."""

import html
import math
from collections.abc import Mapping, Sequence

import numpy as np

from vreid_jax.report.page import wide

WIDTH, HEIGHT = 360, 230  # of a phone: texts have their size there, and are larger elsewhere
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 12, 44  # half of a long number is right of the last tick
NUM_COLOURS = 8  # classes c0 to c7 of the style sheet
MOST_POINTS = 400


def line_plot(
    series: Mapping[str, tuple[Sequence, Sequence]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
) -> str:
    """An SVG with one line for each series (x, y), axes and a legend; points that are no numbers are left out.

    `y_range` fixes the axis; by default it spans the data. Long series are thinned to means of neighbours.
    """
    lines = {name: _thinned(*_finite(x, y)) for name, (x, y) in series.items()}
    lines = {name: line for name, line in lines.items() if len(line[0])}
    if not lines:
        return f"<p>{html.escape(title)}: nothing was recorded.</p>"
    x_low = min(x.min() for x, _ in lines.values())
    x_high = max(x.max() for x, _ in lines.values())
    y_low, y_high = y_range or (min(y.min() for _, y in lines.values()), max(y.max() for _, y in lines.values()))
    x_high, y_high = (high if high > low else low + 1 for low, high in ((x_low, x_high), (y_low, y_high)))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}"><title>{html.escape(title)}</title>'
    ]
    for value in ticks(y_low, y_high):
        _, y = place(x_low, value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in ticks(x_low, x_high):
        x, _ = place(value, y_low)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x_label)}</text>')
    parts.append(
        f'<text transform="translate(12 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{html.escape(y_label)}</text>'
    )
    for number, (x, y) in enumerate(lines.values()):
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(*point) for point in zip(x, y, strict=True)))
        parts.append(f'<polyline class="c{number % NUM_COLOURS}" points="{points}"/>')
    parts.append("</svg>")
    legend = "".join(
        f'<li class="c{number % NUM_COLOURS}">{html.escape(name)}</li>' for number, name in enumerate(lines)
    )
    return f'<figure><figcaption>{html.escape(title)}</figcaption>{"".join(parts)}<ul class="legend">{legend}</ul></figure>'


def ticks(low: float | int, high: float | int, about: int = 5) -> list[float]:
    """Round numbers within [low, high], `about` as many as said."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def matrix(values: np.ndarray, counts: np.ndarray, rows: Sequence, columns: Sequence, caption: str) -> str:
    """A table of fractions, in percent, cells shaded by their value; empty where `counts` is 0."""
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = []
    for row, line, number in zip(rows, values, counts, strict=True):
        cells = "".join(
            f'<td style="--v:{value:.3f}" title="{count} queries">{100 * value:.0f}</td>' if count else "<td></td>"
            for value, count in zip(line, number, strict=True)
        )
        body.append(f'<tr><th scope="row">{row}</th>{cells}</tr>')
    return wide(
        f'<table class="matrix"><thead><tr><th scope="col">query \\ gallery</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>",
        caption,
    )


def _finite(x, y) -> tuple[np.ndarray, np.ndarray]:
    x, y = (np.array([math.nan if value is None else value for value in values], float) for values in (x, y))
    good = np.isfinite(x) & np.isfinite(y)
    return x[good], y[good]


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pieces = np.array_split(np.arange(len(x)), min(len(x), MOST_POINTS)) if len(x) else []
    return np.array([x[piece].mean() for piece in pieces]), np.array([y[piece].mean() for piece in pieces])
