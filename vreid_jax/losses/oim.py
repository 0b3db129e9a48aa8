"""Online instance matching: classification against a table of the identities' features, which is no parameter."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vreid_jax.errors import InputError

ArrayLike = Array | np.ndarray
EPSILON = 1e-12


@flax.struct.dataclass
class OIMMemory:
    """What the loss remembers.

    Attributes:
      table: [N, D] float32, a vector of length 1 for each identity, zero until it was seen.
      queue: [Q, D] float32, the latest vectors without an identity; None for Q = 0, which no checkpoint could hold.
      pointer: int32, the queue's oldest place.
      momentum: how much of its old vector an identity keeps.
    """

    table: Any  # arrays; any leaf inside tree transformations
    queue: Any
    pointer: Any
    momentum: float = flax.struct.field(pytree_node=False)

    @classmethod
    def empty(cls, num_identities: int, size: int, queue: int = 0, momentum: float = 0.5) -> "OIMMemory":
        """Before the first batch; `InputError` for a momentum outside [0, 1) or a negative queue."""
        if not 0.0 <= momentum < 1.0 or queue < 0:
            raise InputError(f"oim: momentum must be in [0, 1) and queue at least 0, not {momentum} and {queue}")
        start = jnp.zeros((num_identities, size)), jnp.zeros((queue, size)) if queue else None, jnp.zeros((), jnp.int32)
        return cls(*start, momentum)

    def after(self, features: Float[ArrayLike, "B D"], labels: Int[ArrayLike, " B"]) -> "OIMMemory":
        """The memory after a batch, row by row in order, so that the rows of one identity follow on each other.

        A labelled row moves its identity's vector to the normalised `momentum · old + (1 - momentum) · new`; an
        unlabelled one (-1) takes the oldest place of the queue.
        """

        def add(carry, row):
            table, queue, pointer = carry
            feature, label = row
            labelled = label >= 0
            own = jnp.where(labelled, label, 0)
            mixed = self.momentum * table[own] + (1 - self.momentum) * feature
            mixed = mixed / jnp.sqrt(jnp.square(mixed).sum() + EPSILON)
            table = table.at[own].set(jnp.where(labelled, mixed, table[own]))
            if queue is not None:
                queue = queue.at[pointer].set(jnp.where(labelled, queue[pointer], feature))
                pointer = jnp.where(labelled, pointer, (pointer + 1) % len(queue))
            return (table, queue, pointer), None

        rows = (jax.lax.stop_gradient(jnp.asarray(features, jnp.float32)), jnp.asarray(labels))
        (table, queue, pointer), _ = jax.lax.scan(add, (self.table, self.queue, self.pointer), rows)
        return self.replace(table=table, queue=queue, pointer=pointer)


def oim(
    features: Float[ArrayLike, "B D"],
    labels: Int[ArrayLike, " B"],
    table: Float[ArrayLike, "N D"],
    queue: Float[ArrayLike, "Q D"] | None = None,
    temperature: float | int = 0.1,
    subsample: int = 0,
    key: PRNGKeyArray | None = None,
) -> Float[Array, ""]:
    """Mean of -log p over the labelled rows, p of PersonVLAD Eq. 6 (Xiao et al. 2017, Eq. 2), float32.

    The logits of `features` [B, D], of length 1, are their products with every row of `table` and `queue`, divided by
    `temperature`. Rows that nobody filled yet are zero and take part, as in the released code of Xiao et al. Rows with
    label -1 have no loss of their own; without a labelled row it is 0, a label from N on makes it NaN.
    With `subsample` > 0 the sum of the denominator runs over the row's own identity and that many rows of the table
    and of the queue, drawn from `key` for the whole batch; what is drawn does not stand for the rest (**choice**).
    """
    if temperature <= 0 or subsample < 0:
        raise InputError(f"oim: temperature must be above 0 and subsample at least 0, not {temperature}, {subsample}")
    features, labels = jnp.asarray(features, jnp.float32), jnp.asarray(labels)
    queue = jnp.zeros((0, table.shape[1])) if queue is None else queue
    table, queue = (jax.lax.stop_gradient(jnp.asarray(x, jnp.float32)) for x in (table, queue))
    labelled = labels >= 0
    own = jnp.where(labelled, labels, 0)
    of_own = jnp.einsum("bd,bd->b", features, table[own], precision=Precision.HIGHEST) / temperature
    rows = jnp.arange(len(table))
    if 0 < subsample < len(table):
        rows = jax.random.choice(_given(key), len(table), (subsample,), replace=False)
    if 0 < subsample < len(queue):
        queue = queue[jax.random.choice(jax.random.fold_in(_given(key), 1), len(queue), (subsample,), replace=False)]
    others = jnp.concatenate([table[rows], queue])
    logits = jnp.matmul(features, others.T, precision=Precision.HIGHEST) / temperature
    # The row's own identity enters once, at the front, whether it was drawn or not.
    twice = jnp.pad(rows, (0, len(queue)), constant_values=-1)[None] == own[:, None]
    logits = jnp.concatenate([of_own[:, None], jnp.where(twice, -jnp.inf, logits)], axis=1)
    loss = jax.nn.logsumexp(logits, axis=1) - of_own
    loss = jnp.where(labels < len(table), loss, jnp.nan)
    return jnp.where(labelled, loss, 0.0).sum() / jnp.maximum(labelled.sum(), 1).astype(jnp.float32)


def _given(key: PRNGKeyArray | None) -> PRNGKeyArray:
    if key is None:
        raise InputError("oim: subsample needs a key to draw from")
    return key
