"""The parts of an export as ONNX files, by jax2onnx, checked in ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from vreid_jax.errors import InputError
from vreid_jax.export import Part, check

INLINED = ("jit", "pjit", "closed_call", "checkpoint", "remat2", "custom_jvp_call", "custom_vjp_call")
OPSET = 20


def write(parts: Mapping[str, Part], folder: Path, about: Mapping[str, Any]) -> dict[str, float]:
    """Write `PART.onnx` of every part that ONNX has words for; returns each one's largest difference from the model.

    The files take and give what the StableHLO ones do, and carry `about` in their metadata. Raises `InputError` without
    the extra, `RuntimeError` where a file computes something else than the model.
    """
    to_onnx, runtime = _converter()
    found = {}
    for name, part in parts.items():
        model = to_onnx(resolved(part.function), part.specs(), model_name=name, opset=OPSET)
        told = {key: value for key, value in about.items() if key != "functions"} | {"what": part.what}
        for key, value in told.items():
            model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
        path = folder / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]

        def call(*inputs, session=session, names=names) -> np.ndarray:
            return session.run(None, dict(zip(names, inputs, strict=True)))[0]

        found[f"{name}.onnx"] = check(f"{name}.onnx", call, part)
    return found


def resolved(function: Callable) -> Callable:
    """The function with the choices of `lax.platform_dependent` made, as on CPU, and calls inlined."""

    def run(*inputs):
        closed = jax.make_jaxpr(function)(*inputs)
        (result,) = _evaluate(closed.jaxpr, closed.consts, inputs)
        return result

    return run


def _evaluate(jaxpr, consts: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    values: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))

    def read(variable):
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
        given = [read(variable) for variable in equation.invars]
        values.update(zip(equation.outvars, _apply(equation, given), strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _apply(equation, given: list[Any]) -> Sequence[Any]:
    name, fields = equation.primitive.name, equation.params
    if name == "platform_index":
        return [next(n for n, names in enumerate(fields["platforms"]) if names is None or "cpu" in names)]
    if name == "cond" and isinstance(given[0], int):
        return _call(fields["branches"][given[0]], given[1:])
    if name in INLINED:
        return _call(fields["call_jaxpr" if "call_jaxpr" in fields else "jaxpr"], given)
    functions, own = equation.primitive.get_bind_params(fields)
    result = equation.primitive.bind(*functions, *given, **own)
    return result if equation.primitive.multiple_results else [result]


def _call(inner, given: list[Any]) -> list[Any]:
    if isinstance(inner, ClosedJaxpr):
        return _evaluate(inner.jaxpr, inner.consts, given)
    return _evaluate(inner, (), given)


def _converter():
    try:
        import onnxruntime
        from jax2onnx import to_onnx
    except ImportError as error:
        raise InputError("--onnx needs its extra: python3 -m pip install 'vreid_jax[onnx]'") from error
    return to_onnx, onnxruntime
