"""Backbones on frames by name, for systems that pool over time themselves.

A backbone on frames is a module that turns normalised clips [B, T, H, W, 3] into a dictionary of endpoints, every frame
alone: among them its last maps [B, T, h, w, C], and `pooled` [B, T, C], float32, their mean over height and width. It
takes `train` and has a field `dtype`. A new one becomes known to every such system by one call of `register`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from flax import linen as nn

from vreid_jax.config.fields import nearest
from vreid_jax.errors import InputError
from vreid_jax.models import registry
from vreid_jax.models.backbones import osnet
from vreid_jax.models.backbones import resnet as _resnet  # noqa: F401  (registers its names)


@dataclasses.dataclass(frozen=True)
class FrameBackbone:
    """How a backbone on frames is made, `make(**fields) -> module`, and which endpoint its last maps are."""

    make: Callable[..., nn.Module]
    maps: str


_BACKBONES: dict[str, FrameBackbone] = {}


def register(name: str, make: Callable[..., nn.Module], maps: str) -> None:
    """Make a backbone on frames known by its name; a name that is taken is a `ValueError`."""
    if name in _BACKBONES:
        raise ValueError(f"backbone {name!r} is registered twice")
    _BACKBONES[name] = FrameBackbone(make, maps)


def names() -> tuple[str, ...]:
    """Return the names of all backbones on frames, sorted."""
    return tuple(sorted(_BACKBONES))


def backbone(name: str) -> FrameBackbone:
    """Return the backbone on frames of that name.

    Raises:
      InputError: for an unknown name, with the nearest one.
    """
    if name not in _BACKBONES:
        raise InputError(f"there is no backbone on frames {name!r}{nearest(name, names())}")
    return _BACKBONES[name]


register("resnet50", functools.partial(registry.create, "resnet50"), maps="res5")
for _name in osnet.WIDTHS:
    register(_name, functools.partial(osnet.backbone, _name), maps="conv5")
