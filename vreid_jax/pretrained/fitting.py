"""Fitting tensors that somebody else trained to the variables of a model, every one on both sides accounted for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vreid_jax.models.backbones.resnet import ADDED_PARTS
from vreid_jax.models.layers.inflation import inflate

Names = tuple[str, ...]  # collection, modules ..., leaf

# Where the backbones of a system hang; a backbone's own variables hang at the root.
MOUNTS: dict[str, tuple[Names, ...]] = {
    "two_stream_m3d": (("spatial", "backbone"), ("temporal", "backbone")),
    "clip_similarity": (("features",),),
    "nonlocal3d": (("backbone",),),
    "person_vlad": (("backbone",),),
    "person_vlad_small": (("backbone",),),
}


class Tensor(NamedTuple):
    """A tensor of the source: its name and shape there, its value in this library's layout."""

    name: str
    shape: tuple[int, ...]
    value: np.ndarray

    def __str__(self) -> str:
        return f"{self.name} {tuple(self.shape)}"


@dataclasses.dataclass
class Fit:
    """What went where.

    Attributes:
      values: arrays by the model's path.
      kept: the model's paths that keep their initialisation, as they may.
      left_out: names of classifiers of another size.
      unexplained: what the source has and the model has no place for, in words.
      missing: the model's paths that got nothing and need something.
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
    """Places tensors under each of the `mounts` of a model.

    `source`: path → tensor; `target`: path → anything with a shape. A kernel of frames fits one of clips by
    `inflation`, a 1x1 kernel the matrix it is. Each of `ADDED_PARTS` that the source has none of is kept, and so is
    what lies under no mount.
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


def _fit_below(mount: Names, source, target, inflation: str, placed: set[Names], result: Fit) -> None:
    brought = set()
    wanted = [path for path in target if _below(path, mount)]
    for own, tensor in source.items():
        path = (own[0], *mount, *own[1:])
        if path not in target:
            continue
        placed.add(own)
        brought.update(_parts(own))
        converted = _reshaped(tensor.value, tuple(target[path].shape), inflation)
        if converted is not None:
            result.values[path] = converted
        elif "classifier" in path:
            result.left_out.append(tensor.name)
            result.kept.append(path)
        else:
            result.unexplained.append(f"{tensor} for {'/'.join(path)} {tuple(target[path].shape)}")
    absent = set(ADDED_PARTS) - brought
    for path in wanted:
        if path not in result.values and path not in result.kept:
            (result.kept if _parts(path) & absent else result.missing).append(path)


def _below(path: Names, mount: Names) -> bool:
    return path[1 : 1 + len(mount)] == mount


def _parts(path: Names) -> set[str]:
    """The optional parts that a path belongs to."""
    return {pattern for pattern in ADDED_PARTS if any(re.fullmatch(pattern, module) for module in path[1:-1])}


def _reshaped(value: np.ndarray, shape: tuple[int, ...], inflation: str) -> np.ndarray | None:
    """The array in `shape`: as it is, without leading ones, or inflated; None if it does not fit."""
    extents = value.ndim - len(shape)
    if extents > 0 and value.shape[:extents] == (1,) * extents:
        value = value.reshape(value.shape[extents:])
    if value.ndim == 4 and len(shape) == 5 and value.shape == shape[1:]:
        value = np.asarray(inflate(value, shape[0], inflation))
    return value.astype(np.float32) if value.shape == shape else None
