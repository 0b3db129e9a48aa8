"""Convert a function to an ONNX model by way of its jaxpr.

Calls are inlined, loops are unrolled, and what depends on the weights alone is computed here. Where a layer chooses an
operation by platform, ONNX gets the platform-independent one: convolutions over clips are 3-D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import onnx
import onnxruntime
from jax.extend.core import Literal
from jax.interpreters.partial_eval import dce_jaxpr

from vreid_jax.errors import InputError
from vreid_jax.export.onnx.graph import Graph, Tensor, Value, require
from vreid_jax.export.onnx.primitives import BROADCASTING, DTYPES, RULES

NOT_FOLDED = {"broadcast_in_dim", "dim_as_value"}  # would enlarge constants; is known at run time only
CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint"}


def convert(
    function: Callable[..., jax.Array], specs: Sequence[jax.ShapeDtypeStruct], inputs: Sequence[str], output: str
) -> onnx.ModelProto:
    """Convert a function from arrays to one array.

    Args:
      function: a JAX function.
      specs: shapes and dtypes of its arguments; symbolic dimensions stay open.
      inputs: names of the arguments in the model.
      output: name of the result.

    Raises:
      InputError: if the function has an operation without a rule, or onnxruntime cannot load the model.
    """
    closed = jax.make_jaxpr(function)(*specs)
    # Recurrent layers make random keys that they never use.
    used: Any = dce_jaxpr(closed.jaxpr, [True], instantiate=True)[0]
    (result,) = used.outvars
    graph = Graph()
    given = [Tensor(name, tuple(spec.shape)) for name, spec in zip(inputs, specs, strict=True)]
    (found,) = _inline(graph, closed.replace(jaxpr=used), given)
    signature = [(tensor, spec.dtype) for tensor, spec in zip(given, specs, strict=True)]
    model = graph.model(signature, output, graph.expand(found, result.aval.shape), result.aval.dtype)
    _check(model)
    return model


def _check(model: onnx.ModelProto) -> None:
    """Raise `InputError` unless the model is valid ONNX and onnxruntime can load it."""
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4  # it would print the message of the exception too
    try:
        onnx.checker.check_model(model)
        onnxruntime.InferenceSession(model.SerializeToString(), quiet, providers=["CPUExecutionProvider"])
    except Exception as error:  # the exceptions of both share no base class
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"the model cannot be written as ONNX, export without --onnx: {reason}") from error


def _inline(graph: Graph, closed: Any, values: Sequence[Value]) -> list[Value]:
    """Add the equations of a jaxpr to the graph and return its results."""
    jaxpr = getattr(closed, "jaxpr", closed)
    constants = [np.asarray(x) for x in getattr(closed, "consts", ())]
    known: dict[Any, Value] = dict(zip(jaxpr.constvars, constants, strict=True))
    known.update(zip(jaxpr.invars, values, strict=True))

    def read(variable: Any) -> Value:
        if not isinstance(variable, Literal):
            return known[variable]
        aval: Any = variable.aval
        return np.asarray(variable.val, aval.dtype)

    for equation in jaxpr.eqns:
        found = _evaluate(graph, equation, [read(variable) for variable in equation.invars])
        known.update(zip(equation.outvars, found, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _evaluate(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
    """Add one equation to the graph, or compute it if its values are constants, and return its results."""
    name, params = equation.primitive.name, equation.params
    if name in CALLS:
        return _inline(graph, params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"], values)
    if name == "platform_index":
        return [np.array(params["platforms"].index(None), np.int32)]
    if name == "cond" and isinstance(values[0], np.ndarray):
        return _inline(graph, params["branches"][int(values[0])], values[1:])
    if name == "scan":
        return _unroll(graph, equation, values)
    shapes = [variable.aval.shape for variable in equation.outvars]
    constant = all(isinstance(x, np.ndarray) for x in values) and name not in NOT_FOLDED
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


def _unroll(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
    """Add the steps of a scan to the graph and return its results."""
    step, length, backwards = (equation.params[key] for key in ("jaxpr", "length", "reverse"))
    inner = getattr(step, "jaxpr", step)
    # Scanned inputs and stacked outputs have one more axis outside the loop than inside.
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
        results = _inline(graph, step, [*constants, *carry, *(_row(graph, x, number) for x in scanned)])
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
