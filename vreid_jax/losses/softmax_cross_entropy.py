"""Cross-entropy over identities, with label smoothing."""

# JAX leaves the type of `device` in its own signatures unknown.
# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vreid_jax.errors import InputError

ArrayLike = Array | np.ndarray


def softmax_cross_entropy(
    logits: Float[ArrayLike, "B N"],
    labels: Int[ArrayLike, " B"],
    smoothing: float | int = 0.0,
    valid: Bool[ArrayLike, " B"] | None = None,
) -> Float[Array, ""]:
    """Compute the mean cross-entropy in nats, in float32.

    Args:
      logits: [B, N].
      labels: [B] in [0, N).
      smoothing: ε in [0, 1); the target is `(1-ε)·onehot + ε/N` (Szegedy et al. 2016, section 7).
      valid: [B] rows that count; all by default.

    Returns:
      The loss; 0 without a valid row. A label outside [0, N) makes it NaN, so that the training loop stops instead of
      learning from it.

    Raises:
      InputError: for a smoothing outside [0, 1).
    """
    if not 0.0 <= smoothing < 1.0:
        raise InputError(f"softmax_cross_entropy: smoothing must be in [0, 1), not {smoothing}.")
    num_classes = logits.shape[1]
    log_probabilities = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32), axis=1)
    in_range = (labels >= 0) & (labels < num_classes)
    column = jnp.where(in_range, labels, 0)[:, None]
    log_likelihood = jnp.take_along_axis(log_probabilities, column, axis=1)[:, 0]
    loss = -(1.0 - smoothing) * log_likelihood - smoothing * log_probabilities.mean(axis=1)
    loss = jnp.where(in_range, loss, jnp.nan)
    if valid is None:
        return loss.mean()
    return jnp.where(valid, loss, 0.0).sum() / jnp.maximum(valid.sum(), 1).astype(jnp.float32)
