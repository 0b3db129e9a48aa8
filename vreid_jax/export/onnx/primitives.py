"""Rules that turn JAX primitives into nodes of an ONNX graph: those that inference with this library's networks uses.

A rule takes the graph, the primitive's parameters, the shape of its result, and its values, at least one of which is not
constant. It covers the dtypes in `DTYPES` only: for others a runtime may lack the operator, or round and wrap where JAX
does not. NaN may be treated differently: a maximum over an axis or a window is NaN in JAX, but onnxruntime skips NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from vreid_jax.export.onnx.graph import Graph, Tensor, Value, onnx_dtype, require

Rule = Callable[..., Value]
RULES: dict[str, Rule] = {}
BROADCASTING: set[str] = set()  # primitives whose values may be broadcast implicitly
DTYPES: dict[str, set[str]] = {}

FLOATS = {"float32"}
COMPARABLE = {"float32", "int32"}
ANY_DTYPE = {"float32", "int32", "uint8", "bool"}

ELEMENTWISE = {
    "abs": "Abs", "add": "Add", "div": "Div", "exp": "Exp", "log": "Log", "logistic": "Sigmoid", "max": "Max",
    "min": "Min", "mul": "Mul", "neg": "Neg", "sqrt": "Sqrt", "sub": "Sub", "tanh": "Tanh",
}  # fmt: skip
COMPARISONS = {"eq": "Equal", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual", "lt": "Less"}
REDUCTIONS = {"reduce_max": "ReduceMax", "reduce_min": "ReduceMin", "reduce_sum": "ReduceSum"}


def _rule(*names: str, broadcasting: bool = False, dtypes: set[str] = FLOATS) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        DTYPES.update(dict.fromkeys(names, dtypes))
        BROADCASTING.update(names if broadcasting else ())
        return rule

    return register


def _elementwise(operator: str, graph: Graph, params, shape, *values: Value) -> Tensor:
    return graph.add(operator, *values)


def _reduce(operator: str, graph: Graph, params, shape, x: Tensor) -> Tensor:
    if not params["axes"]:  # ONNX takes no axes for all axes
        return x
    return graph.add(operator, x, np.array(params["axes"], np.int64), shape=shape, keepdims=0)


for _name, _operator in ELEMENTWISE.items():
    _rule(_name, broadcasting=True)(partial(_elementwise, _operator))
for _name, _operator in COMPARISONS.items():
    _rule(_name, broadcasting=True, dtypes=COMPARABLE)(partial(_elementwise, _operator))
for _name, _operator in REDUCTIONS.items():
    _rule(_name)(partial(_reduce, _operator))
_rule("stop_gradient", "copy", broadcasting=True, dtypes=ANY_DTYPE)(lambda graph, params, shape, x: x)
_rule("ne", broadcasting=True, dtypes=COMPARABLE)(
    lambda graph, params, shape, x, y: graph.add("Not", graph.add("Equal", x, y))
)
_rule("square", broadcasting=True)(lambda graph, params, shape, x: graph.add("Mul", x, x))
_rule("rsqrt", broadcasting=True)(lambda graph, params, shape, x: graph.add("Reciprocal", graph.add("Sqrt", x)))
_rule("reshape", "squeeze", "expand_dims", dtypes=ANY_DTYPE)(lambda graph, params, shape, x: graph.reshape(x, shape))
_rule("transpose", dtypes=ANY_DTYPE)(lambda graph, params, shape, x: graph.transpose(x, params["permutation"]))


@_rule("integer_pow", broadcasting=True)
def _power(graph: Graph, params, shape, x: Tensor) -> Tensor:
    return graph.add("Pow", x, np.array(params["y"], np.int64))


@_rule("log1p", broadcasting=True)
def _log1p(graph: Graph, params, shape, x: Tensor) -> Tensor:
    # With u = 1 + x after rounding, log(u) x / (u - 1) is accurate for small x too, which matters to weights that are
    # divided by their sum, such as softplus: all of them may be small. For large x it would overflow; there log(u) is
    # accurate.
    one = np.ones((), np.float32)
    u = graph.add("Add", x, one)
    log = graph.add("Log", u)
    for_small = graph.add("Div", graph.add("Mul", log, x), graph.add("Sub", u, one))
    result = graph.add("Where", graph.add("Less", x, one), for_small, log)
    return graph.add("Where", graph.add("Equal", u, one), x, result)


@_rule("convert_element_type", broadcasting=True, dtypes=ANY_DTYPE)
def _cast(graph: Graph, params, shape, x: Tensor) -> Tensor:
    dtype = np.dtype(params["new_dtype"]).name
    require(dtype in ("float32", "bool"), f"a cast to {dtype}")
    return graph.add("Cast", x, to=onnx_dtype(params["new_dtype"]))


@_rule("select_n", broadcasting=True, dtypes={"float32", "bool"})
def _select(graph: Graph, params, shape, which: Value, *cases: Value) -> Tensor:
    require(len(cases) == 2, "a choice among more than two cases")
    return graph.add("Where", which, cases[1], cases[0])


@_rule("broadcast_in_dim", broadcasting=True, dtypes=ANY_DTYPE)
def _broadcast_in_dim(graph: Graph, params, shape, x: Value) -> Value:
    ones: list[Any] = [1] * len(shape)
    for axis, d in zip(params["broadcast_dimensions"], x.shape, strict=True):
        ones[axis] = d
    return x if tuple(ones) == x.shape else graph.reshape(x, ones)


@_rule("concatenate", dtypes=ANY_DTYPE)
def _concatenate(graph: Graph, params, shape, *values: Value) -> Tensor:
    return graph.add("Concat", *values, shape=shape, axis=params["dimension"])


@_rule("slice", dtypes=ANY_DTYPE)
def _slice(graph: Graph, params, shape, x: Tensor) -> Tensor:
    starts, stops = params["start_indices"], params["limit_indices"]
    steps = params["strides"] or (1,) * len(shape)
    axes = [axis for axis, d in enumerate(x.shape) if (starts[axis], stops[axis], steps[axis]) != (0, d, 1)]
    begin, end, step = (np.array([of[axis] for axis in axes], np.int64) for of in (starts, stops, steps))
    return graph.add("Slice", x, begin, end, np.array(axes, np.int64), step, shape=shape)


@_rule("gather", dtypes=ANY_DTYPE)
def _gather(graph: Graph, params, shape, x: Tensor, indices: Value) -> Value:
    """Convert indexing with constants along an open dimension, which is a slice or a gather of rows along one axis."""
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    axes = numbers.start_index_map
    known = isinstance(indices, np.ndarray) and all(isinstance(x.shape[axis], int) for axis in axes)
    require(known and not numbers.operand_batching_dims, "a gather at indices that are not constants")
    assert isinstance(indices, np.ndarray)
    ends = indices + [sizes[axis] for axis in axes]
    require(
        bool(np.all((indices >= 0) & (ends <= [x.shape[axis] for axis in axes]))),
        "a gather beyond the bounds of its array",
    )
    whole = all(size == x.shape[axis] for axis, size in enumerate(sizes) if axis not in axes)
    if whole and indices.ndim == 1 and not numbers.collapsed_slice_dims:
        return graph.add("Slice", x, *(np.asarray(each, np.int64) for each in (indices, ends, axes)), shape=shape)
    require(whole and numbers.collapsed_slice_dims == axes and len(axes) == 1, "a gather along several axes")
    rows = [axis for axis in range(len(shape)) if axis not in numbers.offset_dims]
    order = [*numbers.offset_dims[: axes[0]], *rows, *numbers.offset_dims[axes[0] :]]
    picked = np.asarray(indices[..., 0], np.int64)
    found = graph.add("Gather", x, picked, shape=[shape[axis] for axis in order], axis=axes[0])
    return graph.transpose(found, np.argsort(order))


@_rule("pad")
def _pad(graph: Graph, params, shape, x: Value, filling: Value) -> Tensor:
    before, after, between = zip(*params["padding_config"], strict=True)
    require(not any(between), "padding between values")
    return graph.add("Pad", x, np.array([*before, *after], np.int64), filling, shape=shape)


@_rule("argmax")
def _argmax(graph: Graph, params, shape, x: Tensor) -> Tensor:
    found = graph.add("ArgMax", x, shape=shape, axis=params["axes"][0], keepdims=0)
    return graph.add("Cast", found, to=onnx_dtype(params["index_dtype"]))


@_rule("dot_general")
def _dot(graph: Graph, params, shape, x: Value, y: Value) -> Tensor:
    (x_summed, y_summed), (x_batch, y_batch) = params["dimension_numbers"]
    if not x_batch and len(y.shape) == 2 and (tuple(x_summed), tuple(y_summed)) == ((len(x.shape) - 1,), (0,)):
        return graph.add("MatMul", x, y, shape=shape)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    of_x, of_y = [[next(letters) for _ in each.shape] for each in (x, y)]
    for a, b in zip((*x_batch, *x_summed), (*y_batch, *y_summed), strict=True):
        of_y[b] = of_x[a]
    own_x = [letter for axis, letter in enumerate(of_x) if axis not in (*x_batch, *x_summed)]
    own_y = [letter for axis, letter in enumerate(of_y) if axis not in (*y_batch, *y_summed)]
    result = [*(of_x[axis] for axis in x_batch), *own_x, *own_y]
    equation = f"{''.join(of_x)},{''.join(of_y)}->{''.join(result)}"
    return graph.add("Einsum", x, y, shape=shape, equation=equation)


@_rule("conv_general_dilated")
def _convolution(graph: Graph, params, shape, x: Value, kernel: Value) -> Value:
    numbers = params["dimension_numbers"]
    require(set(params["lhs_dilation"]) <= {1} and params["batch_group_count"] == 1, "a transposed convolution")
    attributes = {"dilations": params["rhs_dilation"], "group": params["feature_group_count"]}
    x, kernel = graph.transpose(x, numbers.lhs_spec), graph.transpose(kernel, numbers.rhs_spec)
    channels_first = [shape[axis] for axis in numbers.out_spec]
    geometry = {"strides": params["window_strides"], "pads": _pads(params["padding"])}
    y = graph.add("Conv", x, kernel, shape=channels_first, **geometry, **attributes)
    return graph.transpose(y, np.argsort(numbers.out_spec))


@_rule("reduce_window_max")
def _max_pool(graph: Graph, params, shape, x: Value) -> Value:
    window, strides, dilation = (params[f"window_{what}"] for what in ("dimensions", "strides", "dilation"))
    inside = window[0] == window[-1] == strides[0] == strides[-1] == 1 and set(params["base_dilation"]) == {1}
    require(inside, "a maximum over windows of batch or channels")
    order = [0, len(shape) - 1, *range(1, len(shape) - 1)]
    geometry = {"kernel_shape": window[1:-1], "strides": strides[1:-1], "dilations": dilation[1:-1]}
    y = graph.add(
        "MaxPool",
        graph.transpose(x, order),
        shape=[shape[axis] for axis in order],
        pads=_pads(params["padding"][1:-1]),
        **geometry,
    )
    return graph.transpose(y, np.argsort(order))


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    require(all(number >= 0 for pair in padding for number in pair), "negative padding of a window")
    return [before for before, _ in padding] + [after for _, after in padding]
