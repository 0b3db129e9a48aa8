"""Count the operations of a program's matrix products and convolutions before it is compiled."""

from __future__ import annotations

import math
from typing import Any


def matrix_operations(traced) -> float:
    """Return how many multiplications and additions the matrix products and convolutions of a traced function take.

    Where the code depends on the platform the cheapest form counts, so that every device is asked for the same work.
    Borders that a convolution pads count as data; zeros that it dilates its input with do not.
    """
    return _of(traced.jaxpr)


def _of(jaxpr) -> float:
    return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        features = kernel[params["dimension_numbers"].rhs_spec[0]]
        taps = math.prod(kernel) / features / math.prod(params["lhs_dilation"])
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * taps
    if name == "cond":
        return min(map(_of, _inner(params["branches"])))
    times = params["length"] if name == "scan" else 1
    return times * sum(map(_of, _inner(params.values())))


def _inner(values) -> list[Any]:
    """Return the programs among the parameters of an equation."""
    found = []
    for value in values:
        if isinstance(value, tuple | list):
            found += _inner(value)
        elif hasattr(value, "eqns"):
            found.append(value)
        elif hasattr(getattr(value, "jaxpr", None), "eqns"):
            found.append(value.jaxpr)
    return found
