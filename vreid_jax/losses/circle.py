"""The circle loss: similarities that are far from their optimum weigh more."""

# JAX leaves the type of `device` in its own signatures unknown.
# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vreid_jax.errors import InputError
from vreid_jax.losses.cosines import ArrayLike, cosines, pairs


def circle(
    features: Float[ArrayLike, "N D"],
    labels: Int[ArrayLike, " N"],
    margin: float | int = 0.25,
    scale: float | int = 80,
    valid: Bool[ArrayLike, " N"] | None = None,
) -> Float[Array, ""]:
    """Compute the circle loss of pairs in float32 (Sun et al. 2020, equation 6 with the margins of section 3.3).

    With s_p the cosines of an anchor to its positives and s_n to its negatives, m the margin and γ the scale, its loss is
    `log(1 + sum_n exp(γ α_n (s_n - m)) · sum_p exp(-γ α_p (s_p - 1 + m)))`, where `α_p = max(0, 1 + m - s_p)` and
    `α_n = max(0, s_n + m)` weigh the pairs and pass on no gradient, as in the authors' code. The loss is the mean over
    the anchors with a positive and a negative.

    Args:
      features: [N, D], of any length.
      labels: [N] identities.
      margin: m, at least 0 and below 1.
      scale: γ, above 0.
      valid: [N] rows that may be anchors or candidates; all by default.

    Returns:
      The loss; 0 without an anchor that has both.

    Raises:
      InputError: for a margin or a scale out of range.
    """
    if not 0 <= margin < 1 or scale <= 0:
        raise InputError(f"circle: margin must be at least 0 and below 1, and scale above 0, not {margin} and {scale}")
    positive, negative = pairs(labels, valid)
    anchor = positive.any(axis=1) & negative.any(axis=1)
    similarity = cosines(features)
    fixed = jax.lax.stop_gradient(similarity)
    of_positives = -scale * jax.nn.relu(1 + margin - fixed) * (similarity - (1 - margin))
    of_negatives = scale * jax.nn.relu(fixed + margin) * (similarity - margin)
    # An anchor that lacks either has all of both, whose sum is finite, and is left out below.
    both = _log_sum(of_positives, positive, anchor) + _log_sum(of_negatives, negative, anchor)
    loss = jnp.where(anchor, jax.nn.softplus(both), 0.0).sum()
    return loss / jnp.maximum(anchor.sum(), 1).astype(jnp.float32)


def _log_sum(logits: Float[Array, "N N"], chosen: Bool[Array, "N N"], anchor: Bool[Array, " N"]) -> Float[Array, " N"]:
    return jax.nn.logsumexp(jnp.where(chosen | ~anchor[:, None], logits, -jnp.inf), axis=1)
