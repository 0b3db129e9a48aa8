"""Line plots as SVG."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from vreid_jax.report.rendering import paragraph, render

WIDTH, HEIGHT = 360, 230  # a phone's width: texts have their size there, and are larger elsewhere
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 12, 44  # margins; half of a long number extends beyond the last tick
NUM_COLOURS = 8  # classes c0 to c7 of the style sheet
MOST_POINTS = 400


def line_plot(
    series: Mapping[str, tuple[Sequence, Sequence]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """Return a figure with one line for each series, axes and a legend.

    Args:
      series: name and points (x, y) of each line; points that are not finite numbers are left out, and long series
        are thinned to means of neighbours.
      title: caption of the figure.
      x_label: name of the horizontal axis.
      y_label: name of the vertical axis.
      y_range: limits of the vertical axis; by default it spans the data.
    """
    lines = {name: _thinned(*_finite(x, y)) for name, (x, y) in series.items()}
    lines = {name: line for name, line in lines.items() if len(line[0])}
    if not lines:
        return paragraph(f"{title}: nothing was recorded.")
    x_low = min(x.min() for x, _ in lines.values())
    x_high = max(x.max() for x, _ in lines.values())
    y_low, y_high = y_range or (min(y.min() for _, y in lines.values()), max(y.max() for _, y in lines.values()))
    x_high, y_high = (high if high > low else low + 1 for low, high in ((x_low, x_high), (y_low, y_high)))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(x):
        return LEFT + (x - x_low) / (x_high - x_low) * (right - LEFT)

    def down(y):
        return bottom - (y - y_low) / (y_high - y_low) * (bottom - TOP)

    return render(
        "plot.html",
        title=title,
        x_label=x_label,
        y_label=y_label,
        x_ticks=[(across(value), f"{value:g}") for value in ticks(x_low, x_high)],
        y_ticks=[(down(value), f"{value:g}") for value in ticks(y_low, y_high)],
        lines={name: list(zip(across(x), down(y), strict=True)) for name, (x, y) in lines.items()},
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=right,
        bottom=bottom,
        num_colours=NUM_COLOURS,
    )


def ticks(low: float | int, high: float | int, about: int = 5) -> list[float]:
    """Return round numbers within [low, high], roughly `about` of them."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _finite(x, y) -> tuple[np.ndarray, np.ndarray]:
    """Return the points whose coordinates are both finite numbers."""
    x, y = (np.array([math.nan if value is None else value for value in values], float) for values in (x, y))
    good = np.isfinite(x) & np.isfinite(y)
    return x[good], y[good]


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return at most `MOST_POINTS` points, means of neighbouring ones."""
    pieces = np.array_split(np.arange(len(x)), min(len(x), MOST_POINTS)) if len(x) else []
    return np.array([x[piece].mean() for piece in pieces]), np.array([y[piece].mean() for piece in pieces])
