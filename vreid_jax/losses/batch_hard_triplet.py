"""The triplet loss with the hardest positive and the hardest negative of every anchor in the batch."""

# JAX leaves the type of `device` in its own signatures unknown.
# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vreid_jax.errors import InputError
from vreid_jax.losses.cosines import cosines

# Added under the square root so that the gradient stays finite where two features coincide; too small to change
# distances from 1e-3 on.
EPSILON = 1e-12

METRICS = ("euclidean", "sqeuclidean", "cosine")
REDUCTIONS = ("mean", "sum")

ArrayLike = Array | np.ndarray


def batch_hard_triplet(
    features: Float[ArrayLike, "N D"],
    labels: Int[ArrayLike, " N"],
    margin: float | int = 0.3,
    distance: str = "euclidean",
    reduction: str = "mean",
    valid: Bool[ArrayLike, " N"] | None = None,
) -> Float[Array, ""]:
    """Compute the batch-hard triplet loss in float32 (Hermans et al. 2017, equation 5).

    The loss of an anchor a is max(0, margin + max_{p: same label, p ≠ a} d(a, p) - min_{n: other label} d(a, n)). Anchors
    without a positive or without a negative do not contribute; without any anchor the loss is 0.

    Args:
      features: [N, D].
      labels: [N] identities.
      margin: by which the hardest negative must be farther than the hardest positive.
      distance: "euclidean" sqrt(|a-b|² + 1e-12), "sqeuclidean" |a-b|², or "cosine" 1 - a·b/(|a||b|).
      reduction: "mean" or "sum" over the anchors that contribute.
      valid: [N] rows that may be anchors or candidates; all by default.

    Raises:
      InputError: for an unknown distance or reduction.
    """
    return batch_hard_triplet_from_distances(
        _distances(jnp.asarray(features, jnp.float32), distance), labels, margin, reduction, valid
    )


def batch_hard_triplet_from_distances(
    distances: Float[ArrayLike, "N N"],
    labels: Int[ArrayLike, " N"],
    margin: float | int = 0.3,
    reduction: str = "mean",
    valid: Bool[ArrayLike, " N"] | None = None,
) -> Float[Array, ""]:
    """Compute the batch-hard triplet loss from a matrix of distances, such as a negated learned similarity.

    Args:
      distances: [N, N], rows are anchors; the diagonal is not used.
      labels: as for `batch_hard_triplet`.
      margin: as for `batch_hard_triplet`.
      reduction: as for `batch_hard_triplet`.
      valid: as for `batch_hard_triplet`.

    Raises:
      InputError: for an unknown reduction.
    """
    if reduction not in REDUCTIONS:
        raise InputError(f"batch_hard_triplet: reduction must be one of {REDUCTIONS}, not {reduction!r}.")
    count = labels.shape[0]
    same = labels[:, None] == labels[None, :]
    usable = jnp.ones((count, count), bool) if valid is None else valid[:, None] & valid[None, :]
    positive = same & usable & ~jnp.eye(count, dtype=bool)
    negative = ~same & usable
    distances = jnp.asarray(distances, jnp.float32)
    hardest_positive = jnp.max(jnp.where(positive, distances, -jnp.inf), axis=1)
    hardest_negative = jnp.min(jnp.where(negative, distances, jnp.inf), axis=1)
    anchor = positive.any(axis=1) & negative.any(axis=1)
    # Anchors without a candidate have infinities here; replacing them after the subtraction would leave NaN gradients.
    gap = jnp.where(anchor, hardest_positive, 0.0) - jnp.where(anchor, hardest_negative, 0.0)
    loss = jnp.where(anchor, jax.nn.relu(margin + gap), 0.0).sum()
    if reduction == "sum":
        return loss
    return loss / jnp.maximum(anchor.sum(), 1).astype(jnp.float32)


def _distances(features: Float[ArrayLike, "N D"], metric: str) -> Float[Array, "N N"]:
    if metric not in METRICS:
        raise InputError(f"batch_hard_triplet: distance must be one of {METRICS}, not {metric!r}.")
    if metric == "cosine":
        return 1.0 - cosines(features)
    # Differences rather than |a|² + |b|² - 2ab, which cancels for near features, the ones that matter to this loss.
    squared = jnp.square(features[:, None, :] - features[None, :, :]).sum(axis=2)
    return squared if metric == "sqeuclidean" else jnp.sqrt(squared + EPSILON)
