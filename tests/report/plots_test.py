import re

import numpy as np
import pytest

from vreid_jax.report import plots


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1, 50, [10, 20, 30, 40, 50]),
        (0.13, 0.31, [0.15, 0.2, 0.25, 0.3]),
        (-3, 7, [-2, 0, 2, 4, 6]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    np.testing.assert_allclose(plots.ticks(low, high), expected)


def points(svg):
    return [
        [tuple(map(float, pair.split(","))) for pair in line.split()] for line in re.findall(r'points="([^"]+)"', svg)
    ]


def test_lines_go_from_corner_to_corner_of_the_axes():
    svg = plots.line_plot({"a": ([0, 10], [5, 7]), "b": ([0, 5, 10], [7, 6, 5])}, title="t", x_label="x", y_label="y")
    left, right = plots.LEFT, plots.WIDTH - plots.RIGHT
    top, bottom = plots.TOP, plots.HEIGHT - plots.BOTTOM
    middle = ((left + right) / 2, (top + bottom) / 2)
    assert points(svg) == [[(left, bottom), (right, top)], [(left, top), middle, (right, bottom)]]


def test_points_that_are_not_numbers_are_left_out_and_nothing_is_said():
    svg = plots.line_plot({"a": ([0, 1, 2], [1, None, float("nan")])}, title="t", x_label="x", y_label="y")
    assert len(points(svg)[0]) == 1
    assert "nothing was recorded" in plots.line_plot({"a": ([], [])}, title="t", x_label="x", y_label="y")


def test_long_lines_are_thinned_to_means():
    svg = plots.line_plot({"a": (range(4000), [0.0, 1.0] * 2000)}, title="t", x_label="x", y_label="y")
    assert len(points(svg)[0]) == plots.MOST_POINTS


def test_names_are_escaped():
    svg = plots.line_plot({"<b>": ([0, 1], [0, 1])}, title="a & b", x_label="<x>", y_label="y")
    assert "<b>" not in svg
    assert "a &amp; b" in svg
