"""Vectors of locally aggregated descriptors (VLAD): sums of the residuals to soft-assigned cluster centres."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.lax import Precision
from jaxtyping import Float

from vreid_jax.errors import InputError
from vreid_jax.models.layers.norm import l2_normalize

ASSIGNMENTS = ("soft", "hard")


class VLAD(nn.Module):
    """The sums of residuals of PersonVLAD (Eq. 5), before their normalisation.

    Descriptors are assigned by softmax_k(w_k·f + z_k), with w = 2αc and z = -α|c|² at the start; the `centres` of the
    residuals are parameters of their own ("decoupled"). With `assignment` "hard" a descriptor belongs to the centre of
    the largest logit alone. At α = 1000 the assignment of unit vectors is one-hot in float32, so `kernel` and `bias`
    get no gradient; the centres still learn. `alpha` is where the assignment starts when its centres are set, and nothing
    to one that comes trained.
    """

    num_clusters: int = 64
    alpha: float = 1000.0
    assignment: str = "soft"

    @nn.compact
    def __call__(
        self, descriptors: Float[Array, "B N D"], weights: Float[Array, "B N"] | None = None
    ) -> Float[Array, "B K D"]:
        """Return the sums over the N descriptors of each clip, each `weights` times (default 1), float32."""
        if self.assignment not in ASSIGNMENTS:
            raise InputError(f"assignment is {self.assignment!r}, expected {' or '.join(ASSIGNMENTS)}")
        shape = (self.num_clusters, descriptors.shape[-1])
        centres = self.param("centres", _unit_directions, shape)
        kernel = self.param("kernel", lambda _: vlad_parameters(centres, self.alpha)["kernel"])
        bias = self.param("bias", lambda _: vlad_parameters(centres, self.alpha)["bias"])
        return vlad_sums(descriptors, centres, kernel, bias, weights, hard=self.assignment == "hard")


def check_alpha(alpha: float, kept: Iterable[str], source: Mapping[str, Any]) -> None:
    """Refuse an α with which an assignment that comes trained did not start, since it would have no effect.

    Args:
      alpha: of the network.
      kept: names of the variables that come trained.
      source: the configuration of the run that they come from, as far as it is known.

    Raises:
      InputError: when that says another α.
    """
    there = source.get("model", {}).get("alpha", alpha)
    if there != alpha and any(re.fullmatch(r"params/vlad\w*/kernel", name) for name in kept):
        raise InputError(
            f"model.alpha is {alpha}, but init_from brings an assignment that was trained from alpha = {there}, and it stays "
            f"as it is: set model.alpha to {there}, or have the assignment made anew with init_patterns=('(?!vlad).*',)"
        )


def vlad_parameters(centres: Float[Array | np.ndarray, "K D"], alpha: float) -> dict[str, Array]:
    """Return the parameters of `VLAD` that assign to `centres` as in Eq. 4 and take residuals to them."""
    centres = jnp.asarray(centres, jnp.float32)
    return {"centres": centres, "kernel": 2 * alpha * centres.T, "bias": -alpha * jnp.square(centres).sum(1)}


def vlad_sums(
    descriptors: Float[Array | np.ndarray, "B N D"],
    centres: Float[Array | np.ndarray, "K D"],
    kernel: Float[Array | np.ndarray, "D K"],
    bias: Float[Array | np.ndarray, " K"],
    weights: Float[Array | np.ndarray, "B N"] | None = None,
    hard: bool = False,
) -> Float[Array, "B K D"]:
    """Return V[b, k] = Σ_n a_k(f_n) (f_n - c_k) (Eq. 3 or 5).

    It is computed as Σ a f - (Σ a) c, so that nothing of size B x N x K x D is made.
    """
    descriptors = jnp.asarray(descriptors, jnp.float32)
    logits = jnp.einsum("bnd,dk->bnk", descriptors, kernel, precision=Precision.HIGHEST)
    logits = logits + jnp.asarray(bias)[None, None, :]
    if hard:
        share = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=jnp.float32)
    else:
        share = jax.nn.softmax(logits, axis=-1)
    if weights is not None:
        share = share * jnp.asarray(weights)[:, :, None]
    sums = jnp.einsum("bnk,bnd->bkd", share, descriptors, precision=Precision.HIGHEST)
    return sums - share.sum(1)[:, :, None] * jnp.asarray(centres)[None]


def normalised(sums: Float[Array | np.ndarray, "B K D"]) -> Float[Array, "B KD"]:
    """Normalise each cluster's sum to length 1, then the whole vector; zeros stay zero."""
    return l2_normalize(l2_normalize(sums).reshape(sums.shape[0], -1))


def _unit_directions(key: Array, shape: tuple[int, int]) -> Array:
    """Draw centres before k-means: random directions in the orthant that ReLU leaves."""
    return l2_normalize(jnp.abs(jax.random.normal(key, shape, jnp.float32)))
