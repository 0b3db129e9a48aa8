"""Inflation: the kernels of a 2-D network turned into kernels over clips, from which a 3-D network starts."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vreid_jax.config.inputs import FLOW_CHANNELS, RGB_CHANNELS
from vreid_jax.errors import InputError

INFLATIONS = ("mean", "center")


def check_inflation(inflation: str) -> None:
    """Raise `InputError` for a name that is not in `INFLATIONS`."""
    if inflation not in INFLATIONS:
        raise InputError(f"inflation is {inflation!r}, expected one of {', '.join(INFLATIONS)}")


def inflate(
    kernel: Float[Array | np.ndarray, "kh kw C D"], length: int, inflation: str
) -> Float[Array | np.ndarray, "kt kh kw C D"]:
    """Return the kernel over `length` frames that does to a still clip what `kernel` does to its frame.

    Args:
      kernel: of the 2-D network.
      length: the number kt of frames.
      inflation: "mean": every plane is the kernel / length (Carreira and Zisserman 2017); the results are equal except
        where the outer planes reach a border of zeros. "center": the kernel in the middle plane, zeros around it; the
        results are equal everywhere, and on any clip.

    Raises:
      InputError: for another inflation.
    """
    check_inflation(inflation)
    weights = np.full(length, 1 / length, np.float32)
    if inflation == "center":
        weights = np.eye(length, dtype=np.float32)[length // 2]
    return kernel[None] * weights[:, None, None, None, None]


def is_flow_kernel(colours: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Tell whether a 2-D kernel of one shape acts on pictures, and one of the other is the same on stacks of flow."""
    return (
        len(colours) == len(shape) == 4
        and (colours[2], shape[2]) == (RGB_CHANNELS, FLOW_CHANNELS)
        and (*colours[:2], colours[3]) == (*shape[:2], shape[3])
    )


def flow_kernel(kernel: Float[Array | np.ndarray, "kh kw 3 D"]) -> Float[Array | np.ndarray, "kh kw 20 D"]:
    """Return the first kernel of a network on stacks of optical flow: the mean over the colours, for every channel.

    Of Wang et al. 2015, "Towards good practices for very deep two-stream ConvNets", section 3.2.
    """
    return kernel.mean(2, keepdims=True).repeat(FLOW_CHANNELS, 2)


def identity_in_time(key, shape: tuple[int, ...], dtype=jnp.float32) -> Float[Array, "kt 1 1 C C"]:
    """Initialise a temporal kernel [kt, 1, 1, C, C]: the identity in the middle tap, zeros around it."""
    del key
    taps, _, _, channels, features = shape
    return jnp.zeros(shape, dtype).at[taps // 2, 0, 0].set(jnp.eye(channels, features, dtype=dtype))


def mean_in_time(key, shape: tuple[int, ...], dtype=jnp.float32) -> Float[Array, "kt 1 1 C C"]:
    """Initialise a temporal kernel of stride 2: half of the identity in the middle tap and the one after it.

    Output t is then the mean of frames 2t and 2t + 1, so that no frame is passed over.
    """
    del key
    taps, _, _, channels, features = shape
    halves = slice(taps // 2, taps // 2 + 2)
    return jnp.zeros(shape, dtype).at[halves, 0, 0].set(0.5 * jnp.eye(channels, features, dtype=dtype))
