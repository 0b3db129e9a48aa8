"""The cosines of a batch's features and which pairs are of one identity, for losses that compare all pairs."""

# JAX leaves the type of `device` in its own signatures unknown.
# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

ArrayLike = Array | np.ndarray
EPSILON = 1e-12  # under the root: a vector that is zero stays zero, and its gradient finite


def cosines(features: Float[ArrayLike, "N D"]) -> Float[Array, "N N"]:
    """Return the cosines of all pairs, float32; those of a zero vector are 0."""
    unit = unit_rows(features)
    return jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST)


def unit_rows(features: Float[ArrayLike, "N D"]) -> Float[Array, "N D"]:
    """Return the vectors at length 1, float32; a zero vector stays zero."""
    features = jnp.asarray(features, jnp.float32)
    return features / jnp.sqrt(jnp.square(features).sum(axis=1, keepdims=True) + EPSILON)


def pairs(
    labels: Int[ArrayLike, " N"], valid: Bool[ArrayLike, " N"] | None
) -> tuple[Bool[Array, "N N"], Bool[Array, "N N"]]:
    """Return which pairs are of one identity, a row with itself left out, and which are of two.

    Pairs with a row that is not `valid` are neither.
    """
    labels = jnp.asarray(labels)
    count = labels.shape[0]
    same = labels[:, None] == labels[None, :]
    usable = jnp.ones((count, count), bool) if valid is None else jnp.asarray(valid)[:, None] & jnp.asarray(valid)[None]
    return same & usable & ~jnp.eye(count, dtype=bool), ~same & usable
