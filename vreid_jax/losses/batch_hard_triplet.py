"""The triplet loss with the hardest positive and the hardest negative of every anchor in the batch."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vreid_jax.errors import InputError

# Under the root: the gradient stays finite where two features coincide; distances from 1e-3 on do not notice it.
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
    """Batch-hard triplet loss of `features` [N, D] with identities `labels` [N] (Hermans et al. 2017, equation 5).

    Σ_a max(0, margin + max_{p: same label, p ≠ a} d(a, p) - min_{n: other label} d(a, n)), as the mean (or "sum") over
    the anchors that have a positive and a negative; the others contribute nothing, and without any the loss is 0.
    `distance`: "euclidean" is sqrt(|a-b|² + 1e-12), "sqeuclidean" |a-b|², "cosine" 1 - a·b/(|a||b|). Rows where
    `valid` is False are neither anchors nor candidates. Everything is float32. Raises `InputError` for unknown names.
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
    """Batch-hard triplet loss of any matrix of distances, row = anchor (a learned similarity enters negated).

    Arguments and result are those of `batch_hard_triplet`; the diagonal of `distances` [N, N] is never looked at.
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
    # The infinities of anchors without a candidate are replaced before the difference, or their gradient would be NaN.
    gap = jnp.where(anchor, hardest_positive, 0.0) - jnp.where(anchor, hardest_negative, 0.0)
    loss = jnp.where(anchor, jax.nn.relu(margin + gap), 0.0).sum()
    if reduction == "sum":
        return loss
    return loss / jnp.maximum(anchor.sum(), 1).astype(jnp.float32)


def _distances(features: Float[ArrayLike, "N D"], metric: str) -> Float[Array, "N N"]:
    if metric not in METRICS:
        raise InputError(f"batch_hard_triplet: distance must be one of {METRICS}, not {metric!r}.")
    if metric == "cosine":
        norm = jnp.sqrt(jnp.square(features).sum(axis=1, keepdims=True) + EPSILON)
        unit = features / norm
        return 1.0 - jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST)
    # Differences, not |a|² + |b|² - 2ab: near features are what the loss is about, and there the latter cancels.
    squared = jnp.square(features[:, None, :] - features[None, :, :]).sum(axis=2)
    return squared if metric == "sqeuclidean" else jnp.sqrt(squared + EPSILON)
