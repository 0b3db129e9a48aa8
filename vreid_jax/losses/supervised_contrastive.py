"""The supervised contrastive loss: every tracklet of a person is a positive, softmax over the cosines in the batch."""

# JAX leaves the type of `device` in its own signatures unknown.
# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vreid_jax.errors import InputError
from vreid_jax.losses.cosines import ArrayLike, cosines, pairs


def supervised_contrastive(
    features: Float[ArrayLike, "N D"],
    labels: Int[ArrayLike, " N"],
    temperature: float | int = 0.1,
    valid: Bool[ArrayLike, " N"] | None = None,
) -> Float[Array, ""]:
    """Compute the supervised contrastive loss in float32 (Khosla et al. 2020, equation 2, "out").

    With z the features at length 1, the loss of an anchor i is the mean over its positives p of
    `log sum_{a ≠ i} exp(z_i·z_a / τ) - z_i·z_p / τ`. The loss is the mean over the anchors that have a positive.

    Args:
      features: [N, D], of any length.
      labels: [N] identities.
      temperature: τ, above 0.
      valid: [N] rows that may be anchors or candidates; all by default.

    Returns:
      The loss; 0 without any pair of one identity.

    Raises:
      InputError: for a temperature that is not above 0.
    """
    return contrastive_of_pairs(features, *pairs(labels, valid), temperature=temperature)


def contrastive_of_pairs(
    features: Float[ArrayLike, "N D"],
    positive: Bool[ArrayLike, "N N"],
    negative: Bool[ArrayLike, "N N"],
    temperature: float | int = 0.1,
) -> Float[Array, ""]:
    """Compute the supervised contrastive loss where only some pairs are known, in float32.

    As `supervised_contrastive`, but the sum runs over the positives and negatives of an anchor alone: a pair that is
    neither has no part in the loss.

    Args:
      features: [N, D], of any length.
      positive: [N, N] pairs of one identity, False on the diagonal.
      negative: [N, N] pairs of two identities.
      temperature: τ, above 0.

    Returns:
      The loss, the mean over the rows with a positive; 0 without any.

    Raises:
      InputError: for a temperature that is not above 0.
    """
    if temperature <= 0:
        raise InputError(f"supervised_contrastive: temperature must be above 0, not {temperature}")
    positive, negative = jnp.asarray(positive), jnp.asarray(negative)
    logits = cosines(features) / temperature
    counts = positive.sum(axis=1)
    anchor = counts > 0
    # Rows without a candidate would be a log of 0 here, with a gradient of NaN: they get one, and are left out below.
    candidate = positive | negative | ~anchor[:, None]
    log_sum = jax.nn.logsumexp(jnp.where(candidate, logits, -jnp.inf), axis=1)
    mean_positive = jnp.where(positive, logits, 0.0).sum(axis=1) / jnp.maximum(counts, 1)
    loss = jnp.where(anchor, log_sum - mean_positive, 0.0).sum()
    return loss / jnp.maximum(anchor.sum(), 1).astype(jnp.float32)
