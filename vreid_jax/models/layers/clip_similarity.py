"""The learned aggregation of clip similarities: a network weighs the pairs of clips one after the other.

Equations are those of Matiyali and Sharma, "Video Person Re-Identification using Learned Clip Similarity Aggregation":
Eq. 1-2 the running combination, Eq. 3-4 the similarity of two tracklets, Eq. 9 the top-t % rule it is compared with.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.errors import InputError
from vreid_jax.models.layers.dense import Dense
from vreid_jax.models.layers.norm import BatchNorm, l2_normalize

EPSILON = 1e-12  # in the sum of importances, which softplus may let underflow


class Importance(nn.Module):
    """g of Eq. 1: hidden layers of Dense, ReLU, dropout and batch norm, then one unit and softplus.

    The moving averages of batch norm move by a hundredth at each pair, not by a tenth (**choice**): the pairs differ
    (the first sees -c_1), and at test one set of statistics serves them all.
    """

    hidden: tuple[int, ...] = (1024, 1024)
    dropout: float = 0.5
    dtype: str = "float32"

    @nn.compact
    def __call__(self, difference: Float[Array, "Q G D"], train: bool = False) -> Float[Array, "Q G"]:
        """Return positive importances, float32, of r_{t-1} - c_t for every pair of tracklets."""
        x = difference
        for number, features in enumerate(self.hidden, start=1):
            x = nn.relu(nn.Dense(features, dtype=self.dtype, name=f"dense{number}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = BatchNorm(not train, momentum=0.99, name=f"bn{number}")(x)
        return nn.softplus(Dense(1, name="score")(x.astype(jnp.float32))[..., 0])


class ClipAggregation(nn.Module):
    """Similarity of tracklets from their clips, by a scan over all pairs of clips (Eq. 1-4).

    Pairs come in row-major order, the query's clip outer, and r_0 = 0 (both **choice**). Batch norm inside g takes the
    statistics of all pairs of tracklets at each step. The backward pass recomputes each step; only r is kept for it,
    `M·N·Q·G·D` floats (604 MB for 48 x 48 tracklets of 8 clips of 1,024).
    """

    hidden: tuple[int, ...] = (1024, 1024)
    dropout: float = 0.5
    dtype: str = "float32"

    def setup(self) -> None:
        """Make the submodules."""
        self.importance = Importance(self.hidden, self.dropout, self.dtype)

    def __call__(
        self, query: Float[Array, "Q M D"], gallery: Float[Array, "G N D"], train: bool = False
    ) -> tuple[Float[Array, "Q G"], Float[Array, "Q G M N"]]:
        """Return similarities in [-1, 1], and the importance of every pair of clips, of L2-normalised clip features."""
        (num_query, m, depth), (num_gallery, n, _) = query.shape, gallery.shape
        combined = jnp.zeros((num_query, num_gallery, depth), jnp.float32)
        if self.is_initializing():
            self.importance(combined)

        def step(g: Importance, carry, pair):
            combined, total = carry
            current = query[:, pair[0]][:, None] * gallery[:, pair[1]][None]
            alpha = g(combined - current, train)
            total = total + alpha
            combined = combined + (alpha / (total + EPSILON))[..., None] * (current - combined)
            return (combined, total), alpha

        moves = self.is_mutable_collection("batch_stats")
        scan = nn.scan(
            nn.remat(step, prevent_cse=False),
            variable_broadcast="params" if moves else ("params", "batch_stats"),
            variable_carry="batch_stats" if moves else False,
            split_rngs={"params": False, "dropout": True},
        )
        pairs = jnp.stack(jnp.divmod(jnp.arange(m * n), n), 1)
        (combined, _), alphas = scan(self.importance, (combined, jnp.zeros(combined.shape[:2])), pairs)
        return combined.sum(-1), jnp.moveaxis(alphas, 0, -1).reshape(num_query, num_gallery, m, n)


def top_t(similarities: Float[Array, "Q G M N"], t: float | int) -> Float[Array, "Q G"]:
    """Return the mean of the `ceil(t·M·N/100)` (**choice**) highest similarities of clips (Eq. 9).

    Raises:
      InputError: for a percentage `t` outside (0, 100].
    """
    if not 0 < t <= 100:
        raise InputError(f"t is a percentage in (0, 100], not {t}")
    flat = similarities.reshape(*similarities.shape[:2], -1)
    count = math.ceil(t / 100 * flat.shape[-1] - 1e-9)  # a rounded product just above a whole number is that number
    return jax.lax.top_k(flat, count)[0].mean(-1)


def clip_cosines(query: Float[Array, "Q M D"], gallery: Float[Array, "G N D"]) -> Float[Array, "Q G M N"]:
    """Return the cosine similarities of all pairs of clips, float32."""
    return jnp.einsum("qmd,gnd->qgmn", l2_normalize(query), l2_normalize(gallery), precision=jax.lax.Precision.HIGHEST)


def average_similarity(
    query: Float[Array, "Q M D"], gallery: Float[Array, "G N D"], normalize: bool
) -> Float[Array, "Q G"]:
    """Return 1 - |a - b|² / 2 of the mean clip features a and b, of L2-normalised clips if `normalize`.

    It ranks like the Euclidean distance of the means, and is their cosine where they have length 1.
    """
    a, b = ((l2_normalize(x) if normalize else x.astype(jnp.float32)).mean(1) for x in (query, gallery))
    squares = jnp.square(a).sum(1)[:, None] + jnp.square(b).sum(1)[None]
    squared = squares - 2 * jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    return 1 - jnp.maximum(squared, 0.0) / 2
