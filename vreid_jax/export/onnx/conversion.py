"""A function as an ONNX model, from its jaxpr.

Calls are inlined, loops unrolled, and what depends on weights alone is computed here. Where a layer has an operation by
platform, ONNX gets that of no platform: convolutions over clips are 3-D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import onnx
import onnxruntime
from jax.extend.core import Literal

from vreid_jax.errors import InputError
from vreid_jax.export.onnx.graph import Graph, Tensor, Value, require
from vreid_jax.export.onnx.primitives import BROADCASTING, DTYPES, RULES

LEFT = {"broadcast_in_dim", "dim_as_value"}  # of constants: would make them larger; is known at run time only
CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint"}


def convert(
    function: Callable[..., jax.Array], specs: Sequence[jax.ShapeDtypeStruct], inputs: Sequence[str], output: str
) -> onnx.ModelProto:
    """The ONNX model of a function of arrays to one array.

    `specs` are the shapes of its arguments, symbolic dimensions stay open; `inputs` and `output` are the names that the
    model has for arguments and result.

    Raises:
      InputError: when the function has an operation that is not known here, or onnxruntime does not load the model.
    """
    closed = jax.make_jaxpr(function)(*specs)
    (result,) = closed.jaxpr.outvars
    graph = Graph()
    given = [Tensor(name, tuple(spec.shape)) for name, spec in zip(inputs, specs, strict=True)]
    (found,) = _inlined(graph, closed, given)
    signature = [(tensor, spec.dtype) for tensor, spec in zip(given, specs, strict=True)]
    model = graph.model(signature, output, graph.expand(found, result.aval.shape), result.aval.dtype)
    _check(model)
    return model


def _check(model: onnx.ModelProto) -> None:
    """`InputError` unless the standard allows the model and onnxruntime has what it needs."""
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4  # it would print what is raised
    try:
        onnx.checker.check_model(model)
        onnxruntime.InferenceSession(model.SerializeToString(), quiet, providers=["CPUExecutionProvider"])
    except Exception as error:  # both raise kinds of their own that have no other base
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"the model cannot be written as ONNX, export without --onnx: {reason}") from error


def _inlined(graph: Graph, closed: Any, values: Sequence[Value]) -> list[Value]:
    """The results of a jaxpr."""
    jaxpr = getattr(closed, "jaxpr", closed)
    constants = [np.asarray(x) for x in getattr(closed, "consts", ())]
    known = dict(zip(jaxpr.constvars, constants, strict=True)) | dict(zip(jaxpr.invars, values, strict=True))

    def read(variable) -> Value:
        return np.asarray(variable.val, variable.aval.dtype) if isinstance(variable, Literal) else known[variable]

    for equation in jaxpr.eqns:
        found = _evaluated(graph, equation, [read(variable) for variable in equation.invars])
        known.update(zip(equation.outvars, found, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _evaluated(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
    """The results of one equation."""
    name, params = equation.primitive.name, equation.params
    if name in CALLS:
        return _inlined(graph, params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"], values)
    if name == "platform_index":
        return [np.array(params["platforms"].index(None), np.int32)]
    if name == "cond" and isinstance(values[0], np.ndarray):
        return _inlined(graph, params["branches"][int(values[0])], values[1:])
    if name == "scan":
        return _unrolled(graph, equation, values)
    shapes = [variable.aval.shape for variable in equation.outvars]
    constant = all(isinstance(x, np.ndarray) for x in values) and name not in LEFT
    closed_shapes = all(isinstance(d, int) for shape in shapes for d in shape)
    folded = constant and closed_shapes
    if folded or name not in BROADCASTING:
        values = [graph.expand(x, variable.aval.shape) for x, variable in zip(values, equation.invars, strict=True)]
    if folded:
        found = equation.primitive.bind(*values, **params)
        return [np.asarray(x) for x in (found if equation.primitive.multiple_results else [found])]
    require(name in RULES, f"`{name}`")
    for variable in equation.invars:
        require(variable.aval.dtype.name in DTYPES[name], f"`{name}` of {variable.aval.dtype}")
    return [RULES[name](graph, params, shapes[0], *values)]


def _unrolled(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
    """The results of a scan."""
    step, length, backwards = (equation.params[key] for key in ("jaxpr", "length", "reverse"))
    inner = getattr(step, "jaxpr", step)
    # What is scanned over, and what is stacked, has an axis more outside of the loop than inside.
    num_scanned, num_stacked = (
        sum(x.aval.shape != y.aval.shape for x, y in zip(outside, inside, strict=True))
        for outside, inside in ((equation.invars, inner.invars), (equation.outvars, inner.outvars))
    )
    num_carried = len(equation.outvars) - num_stacked
    first = len(values) - num_scanned
    constants, carry = values[: first - num_carried], values[first - num_carried : first]
    scanned = [graph.expand(x, v.aval.shape) for x, v in zip(values[first:], equation.invars[first:], strict=True)]
    require(isinstance(length, int), "a scan along an open dimension")
    rows: list[list[Value]] = []
    for number in reversed(range(length)) if backwards else range(length):
        results = _inlined(graph, step, [*constants, *carry, *(_row(graph, x, number) for x in scanned)])
        carry = results[:num_carried]
        rows.append(results[num_carried:])
    columns = zip(*(rows[::-1] if backwards else rows), strict=True)
    outside, inside = equation.outvars[num_carried:], inner.outvars[num_carried:]
    return [*carry, *(_stacked(graph, *each) for each in zip(columns, inside, outside, strict=True))]


def _row(graph: Graph, x: Value, number: int) -> Value:
    if isinstance(x, np.ndarray):
        return np.asarray(x[number])
    return graph.add("Gather", x, np.array(number, np.int64), shape=x.shape[1:], axis=0)


def _stacked(graph: Graph, column: Sequence[Value], inside: Any, outside: Any) -> Tensor:
    shape = inside.aval.shape
    rows = [graph.add("Unsqueeze", graph.expand(x, shape), np.zeros(1, np.int64), shape=(1, *shape)) for x in column]
    return graph.add("Concat", *rows, shape=outside.aval.shape, axis=0)
