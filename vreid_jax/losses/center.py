"""The centre loss: features are drawn to the centre of their identity, which is state, not parameters."""

# JAX leaves the type of `device` in its own signatures unknown, and Flax that of a field.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from vreid_jax.errors import InputError
from vreid_jax.losses.batch_hard_triplet import REDUCTIONS
from vreid_jax.losses.cosines import ArrayLike


@struct.dataclass
class CenterMemory:
    """The state of the loss between batches.

    Attributes:
      centers: [N, D] float32, the centre of each identity; zero at the start (the paper does not say, a choice).
      rate: α, by how much of its update a centre moves.
    """

    centers: Any  # an array, but any kind of leaf inside tree transformations
    rate: float = struct.field(pytree_node=False)

    @classmethod
    def empty(cls, num_identities: int, size: int, rate: float = 0.5) -> "CenterMemory":
        """Return the memory before the first batch; raise `InputError` for a `rate` outside [0, 1]."""
        if not 0.0 <= rate <= 1.0:
            raise InputError(f"center: rate must be from 0 to 1, not {rate}")
        return cls(jnp.zeros((num_identities, size)), rate)

    def after(self, features: Float[ArrayLike, "B D"], labels: Int[ArrayLike, " B"]) -> "CenterMemory":
        """Return the memory after a batch (Wen et al. 2016, equation 4).

        A centre with n features x in the batch moves by `rate · sum(x - centre) / (1 + n)`; rows with label -1 move none.
        """
        features = jax.lax.stop_gradient(jnp.asarray(features, jnp.float32))
        # [N, B], whose product is the same on every device, unlike a scattered sum.
        own = (jnp.arange(len(self.centers))[:, None] == jnp.asarray(labels)[None, :]).astype(jnp.float32)
        counts = own.sum(axis=1, keepdims=True)
        total = jnp.matmul(own, features, precision=jax.lax.Precision.HIGHEST) - counts * self.centers
        return dataclasses.replace(self, centers=self.centers + self.rate * total / (1.0 + counts))


def center(
    features: Float[ArrayLike, "B D"],
    labels: Int[ArrayLike, " B"],
    centers: Float[ArrayLike, "N D"],
    reduction: str = "mean",
) -> Float[Array, ""]:
    """Compute the centre loss in float32: half the squared distance of a feature to its centre (Wen et al. 2016, Eq. 2).

    Args:
      features: [B, D].
      labels: [B] identities; a row with label -1 has no loss.
      centers: [N, D] as in `CenterMemory`; they get no gradient.
      reduction: "sum" over the rows of the batch, as in the paper, or "mean" over those with an identity.

    Returns:
      The loss; 0 without a labelled row, NaN if a label is N or above.

    Raises:
      InputError: for an unknown reduction.
    """
    if reduction not in REDUCTIONS:
        raise InputError(f"center: reduction must be one of {REDUCTIONS}, not {reduction!r}.")
    features, labels = jnp.asarray(features, jnp.float32), jnp.asarray(labels)
    centers = jax.lax.stop_gradient(jnp.asarray(centers, jnp.float32))
    labelled = labels >= 0
    loss = 0.5 * jnp.square(features - centers[jnp.where(labelled, labels, 0)]).sum(axis=1)
    loss = jnp.where(labels < len(centers), loss, jnp.nan)
    total = jnp.where(labelled, loss, 0.0).sum()
    return total if reduction == "sum" else total / jnp.maximum(labelled.sum(), 1).astype(jnp.float32)
