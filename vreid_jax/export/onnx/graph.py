"""An ONNX graph built node by node; shapes may have open dimensions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vreid_jax.errors import InputError

OPSET = 18


@dataclasses.dataclass(frozen=True)
class Tensor:
    """The output of a node; `shape` has ones where JAX has broadcast explicitly and ONNX does so implicitly."""

    name: str
    shape: tuple[Any, ...]


Value = Tensor | np.ndarray  # an array is a constant


def require(possible: bool, what: str) -> None:
    """Raise an `InputError` that names `what` the graph would need unless that is `possible`."""
    if not possible:
        raise InputError(f"the model computes {what}, which this library cannot write as ONNX: export without --onnx")


def onnx_dtype(dtype: Any) -> int:
    """Return ONNX's number of a dtype."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class Graph:
    """Nodes in order and the constants that they use; attributes of operators are those of the ONNX standard."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._names: dict[tuple[Any, ...], str] = {}

    def add(self, operator: str, *values: Value, shape: Sequence[Any] | None = None, **attributes) -> Tensor:
        """Add a node and return its output, whose shape is by default the one to which the values broadcast."""
        out = Tensor(f"{operator}_{len(self._nodes)}", tuple(_broadcast(values) if shape is None else shape))
        names = [self._name(x) for x in values]
        # Every node is named, since a runtime may derive the names of fused nodes from them.
        self._nodes.append(helper.make_node(operator, names, [out.name], name=out.name, **attributes))
        return out

    def reshape(self, x: Value, shape: Sequence[Any]) -> Value:
        """Reshape `x`; one open dimension may be new, others must keep their axis."""
        if isinstance(x, np.ndarray):
            return x.reshape(shape)
        stays = [x.shape[axis : axis + 1] == (d,) for axis, d in enumerate(shape)]
        target = [d if isinstance(d, int) else 0 if same else -1 for d, same in zip(shape, stays, strict=True)]
        require(target.count(-1) < 2, "a reshape of several open dimensions")
        return self.add("Reshape", x, np.array(target, np.int64), shape=shape)

    def expand(self, x: Value, shape: Sequence[Any]) -> Value:
        """Broadcast `x` to `shape`."""
        if x.shape == tuple(shape):
            return x
        target = [1 if given == d else d for given, d in zip(x.shape, shape, strict=True)]
        require(all(isinstance(d, int) for d in target), "a value repeated along an open dimension")
        if isinstance(x, np.ndarray):
            return np.broadcast_to(x, shape)
        return self.add("Expand", x, np.array(target, np.int64), shape=shape)

    def transpose(self, x: Value, axes: Sequence[int] | np.ndarray) -> Value:
        """Permute the axes of `x`."""
        axes = [int(axis) for axis in axes]
        if isinstance(x, np.ndarray):
            return x.transpose(axes)
        if axes == sorted(axes):
            return x
        return self.add("Transpose", x, shape=[x.shape[axis] for axis in axes], perm=axes)

    def model(self, inputs: Sequence[tuple[Tensor, Any]], output: str, result: Value, dtype: Any) -> onnx.ModelProto:
        """Return the model from `inputs`, tensors with their dtypes, to `result`, which it calls `output`."""
        nodes = [*self._nodes, helper.make_node("Identity", [self._name(result)], [output], name=output)]
        used, needed = {output}, []
        for node in reversed(nodes):
            if used.intersection(node.output):
                used.update(node.input)
                needed.append(node)
        body = helper.make_graph(
            needed[::-1],
            output,
            [_value_info(tensor.name, tensor.shape, dtype) for tensor, dtype in inputs],
            [_value_info(output, result.shape, dtype)],
            [constant for constant in self._constants if constant.name in used],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        version = helper.find_min_ir_version_for(opsets)
        return helper.make_model(body, opset_imports=opsets, ir_version=version, producer_name="vreid_jax")

    def _name(self, value: Value) -> str:
        """Return the name of a value; equal constants are stored once."""
        if isinstance(value, Tensor):
            return value.name
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._names:
            self._names[key] = f"constant_{len(self._names)}"
            self._constants.append(numpy_helper.from_array(np.asarray(value, order="C"), self._names[key]))
        return self._names[key]


def _broadcast(values: Sequence[Value]) -> list[Any]:
    rank = max(len(x.shape) for x in values)
    shapes = [(1,) * (rank - len(x.shape)) + tuple(x.shape) for x in values]
    return [next((d for d in dims if d != 1), 1) for dims in zip(*shapes, strict=True)]


def _value_info(name: str, shape: Sequence[Any], dtype: Any) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx_dtype(dtype), [d if isinstance(d, int) else str(d) for d in shape])
