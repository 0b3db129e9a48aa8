"""Fit foreign tensors to the variables of a model, with every tensor on both sides accounted for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from vreid_jax.model_files.weights_file import as_float32
from vreid_jax.models.backbones.osnet import WIDTHS
from vreid_jax.models.backbones.resnet import ADDED_PARTS
from vreid_jax.models.layers.inflation import flow_kernel, inflate, is_flow_kernel

Names = tuple[str, ...]  # collection, modules ..., leaf

# The paths among a model's modules that weights of other projects go to; a backbone on its own is at the root.
MOUNTS: dict[str, tuple[Names, ...]] = {
    "two_stream_m3d": (("spatial", "backbone"), ("temporal", "backbone")),
    "clip_similarity": (("features",),),
    "nonlocal3d": (("backbone",),),
    "person_vlad": (("backbone",),),
    "person_vlad_small": (("backbone",),),
    "resnet50_bnneck": (("backbone",), ("head",)),
    **dict.fromkeys(WIDTHS, (("backbone",), ("head",))),
    "strong_baseline": (("frames",),),
    "two_stream_vgg": (("spatial",), ("temporal",)),
}

# Patterns of the modules that may keep their initialisation where the source has none of their tensors.
OPTIONAL = (*ADDED_PARTS, "classifier")


class Tensor(NamedTuple):
    """A tensor of the source: its name and shape there, and its value in this library's layout."""

    name: str
    shape: tuple[int, ...]
    value: np.ndarray

    def __str__(self) -> str:
        return f"{self.name} {tuple(self.shape)}"


@dataclasses.dataclass
class Fit:
    """The result of a fit.

    Attributes:
      values: arrays by path in the model.
      kept: paths in the model that may keep their initialisation, and do.
      left_out: names of classifiers of another size in the source.
      unexplained: descriptions of source tensors that have no place in the model.
      missing: paths in the model that need a value and did not get one.
    """

    values: dict[Names, np.ndarray] = dataclasses.field(default_factory=dict)
    kept: list[Names] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)
    unexplained: list[str] = dataclasses.field(default_factory=list)
    missing: list[Names] = dataclasses.field(default_factory=list)


def fit(
    source: Mapping[Names, Tensor],
    target: Mapping[Names, Any],
    mounts: tuple[Names, ...] = ((),),
    inflation: str = "mean",
) -> Fit:
    """Place the source's tensors under each of the `mounts` of a model.

    A 2-D kernel is inflated to a 3-D one, a 1x1 kernel becomes a matrix, and a kernel on colours one on optical flow.
    Those of `OPTIONAL` that do not occur in the source keep their initialisation, and so do variables outside all mounts
    and, in a whole model, the batch norm beside a classifier that the source lacks.

    Args:
      source: tensors by path.
      target: the model's variables by path, as anything with a shape.
      mounts: paths at which the source's root goes.
      inflation: how 2-D kernels are inflated, "mean" or "center".

    Raises:
      InputError: for a tensor with a place that is not of finite floats.
    """
    result = Fit()
    placed: set[Names] = set()
    for mount in mounts:
        _fit_below(mount, source, target, inflation, placed, result)
    for path in target:
        if not any(_below(path, mount) for mount in mounts):
            result.kept.append(path)
    result.unexplained += [str(tensor) for path, tensor in source.items() if path not in placed]
    return result


def _fit_below(
    mount: Names,
    source: Mapping[Names, Tensor],
    target: Mapping[Names, Any],
    inflation: str,
    placed: set[Names],
    result: Fit,
) -> None:
    present: set[str] = set()
    wanted = [path for path in target if _below(path, mount)]
    for own, tensor in source.items():
        path = (own[0], *mount, *own[1:])
        if path not in target:
            continue
        placed.add(own)
        present.update(_optional_parts(own))
        value = as_float32(tensor.name, tensor.value)
        converted = _reshaped(value, tuple(target[path].shape), inflation)
        if converted is not None:
            result.values[path] = converted
        elif "classifier" in path:
            result.left_out.append(tensor.name)
            result.kept.append(path)
        else:
            result.unexplained.append(f"{tensor} for {'/'.join(path)} {tuple(target[path].shape)}")
    absent = set(OPTIONAL) - present
    lean = set() if mount else _classified(wanted) - _classified(source)  # a model without a classifier lacks its norm
    for path in wanted:
        if path not in result.values and path not in result.kept:
            optional = _optional_parts(path) & absent or (path[-2] == "bn" and path[1:-2] in lean)
            (result.kept if optional else result.missing).append(path)


def _below(path: Names, mount: Names) -> bool:
    return path[1 : 1 + len(mount)] == mount


def _classified(paths: Iterable[Names]) -> set[Names]:
    """Return the modules that have a classifier."""
    return {path[1:-2] for path in paths if path[-2] == "classifier"}


def _optional_parts(path: Names) -> set[str]:
    """Return the patterns of `OPTIONAL` that match a module of the path."""
    return {pattern for pattern in OPTIONAL if any(re.fullmatch(pattern, module) for module in path[1:-1])}


def _reshaped(value: np.ndarray, shape: tuple[int, ...], inflation: str) -> np.ndarray | None:
    """Return the array in `shape`: unchanged, without leading ones, inflated, or for flow; None if it does not fit."""
    extents = value.ndim - len(shape)
    if extents > 0 and value.shape[:extents] == (1,) * extents:
        value = value.reshape(value.shape[extents:])
    if value.ndim == 4 and len(shape) == 5 and value.shape == shape[1:]:
        value = np.asarray(inflate(value, shape[0], inflation))
    if is_flow_kernel(value.shape, shape):
        value = np.asarray(flow_kernel(value))
    return value.astype(np.float32, copy=False) if value.shape == shape else None
