"""A model with the normalisation it was made for, from uint8 frames to outputs."""

import dataclasses
from typing import Annotated, Any, cast

import jax.numpy as jnp
from flax import linen as nn

from vreid_jax.config.inputs import FLOW_CHANNELS, RGB_CHANNELS
from vreid_jax.settings import POSITIVE, Number, check, plain

_MEAN = tuple[Number, Number, Number]
_Above0 = Annotated[Number, POSITIVE]
_STD = tuple[_Above0, _Above0, _Above0]


def normalisation(data, entry) -> dict[str, tuple[float, float, float]]:
    """Return `mean` and `std` of RGB frames in [0, 1]: those of `data`, or of the model's registry entry.

    Raises:
      InputError: unless they are three numbers each, std above 0.
    """
    found = {}
    for name, kind in (("mean", _MEAN), ("std", _STD)):
        found[name] = plain(getattr(data, name, ())) or getattr(entry, name)
        check(found[name], kind, f"data.{name}")
    return found


def normalise(frames, mean, std):
    """Turn uint8 frames into the floats that a model takes: `(frames / 255 - mean) / std`, float32.

    From each channel of optical flow its own mean over the pixels is taken instead, and it is divided by the mean of
    `std`: a network for flow starts from kernels that were averaged over the three colours (Simonyan and Zisserman
    2014, section 5).
    """
    values, channels = frames.astype(jnp.float32) / 255, frames.shape[-1]
    pictures = channels if channels == RGB_CHANNELS else channels % FLOW_CHANNELS
    parts = []
    if pictures:
        shape = (1,) * (frames.ndim - 1) + (pictures,)
        parts.append(
            (values[..., :pictures] - jnp.reshape(jnp.array(mean), shape)) / jnp.reshape(jnp.array(std), shape)
        )
    if pictures < channels:
        flow = values[..., pictures:]
        parts.append((flow - flow.mean((-3, -2), keepdims=True)) / (sum(std) / len(std)))
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, -1)


@dataclasses.dataclass(frozen=True)
class Network:
    """A module and the mean and standard deviation of its registry entry; two of the same fields are equal."""

    module: nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, variables, frames, **apply) -> dict[str, Any]:
        """Return the outputs in evaluation for uint8 `frames` [B, T, H, W, C]; `apply` are keyword arguments of the module."""
        outputs = self.module.apply(variables, normalise(frames, self.mean, self.std), train=False, **apply)
        return cast(dict[str, Any], outputs)  # without mutable collections there is nothing else
