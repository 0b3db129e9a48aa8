"""Online instance matching: classification against a table of identity features, which is state, not parameters."""

# JAX leaves the type of `device` in its own signatures unknown, and what `lax.scan` carries.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.lax import Precision
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vreid_jax.errors import InputError
from vreid_jax.losses.cosines import EPSILON, unit_rows

ArrayLike = Array | np.ndarray


@struct.dataclass
class OIMMemory:
    """The state of the loss between batches.

    Attributes:
      table: [N, D] float32, a unit vector for each identity, zero until the identity is first seen.
      queue: [Q, D] float32, the latest unit vectors without an identity; None for Q = 0, since a checkpoint cannot hold an
        empty array.
      pointer: int32, the oldest row of the queue.
      momentum: the weight of an identity's old vector in an update.
    """

    table: Any  # arrays, but any kind of leaf inside tree transformations
    queue: Any
    pointer: Any
    momentum: float = struct.field(pytree_node=False)

    @classmethod
    def empty(cls, num_identities: int, size: int, queue: int = 0, momentum: float = 0.5) -> "OIMMemory":
        """Return the memory before the first batch; raise `InputError` for a bad `momentum` or a negative `queue`."""
        if not 0.0 <= momentum < 1.0 or queue < 0:
            raise InputError(f"oim: momentum must be in [0, 1) and queue at least 0, not {momentum} and {queue}")
        start = jnp.zeros((num_identities, size)), jnp.zeros((queue, size)) if queue else None, jnp.zeros((), jnp.int32)
        return cls(*start, momentum)

    def after(self, features: Float[ArrayLike, "B D"], labels: Int[ArrayLike, " B"]) -> "OIMMemory":
        """Return the memory after a batch, whose rows, at length 1, update it sequentially.

        A labelled row replaces its identity's vector by the normalised `momentum · old + (1 - momentum) · new`; an
        unlabelled one (-1) replaces the oldest row of the queue.
        """

        def add(carry: tuple[Any, Any, Any], row: tuple[Any, Any]) -> tuple[tuple[Any, Any, Any], None]:
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

        rows = (jax.lax.stop_gradient(unit_rows(features)), jnp.asarray(labels))
        (table, queue, pointer), _ = jax.lax.scan(add, (self.table, self.queue, self.pointer), rows)
        return dataclasses.replace(self, table=table, queue=queue, pointer=pointer)


def oim(
    features: Float[ArrayLike, "B D"],
    labels: Int[ArrayLike, " B"],
    table: Float[ArrayLike, "N D"],
    queue: Float[ArrayLike, "Q D"] | None = None,
    temperature: float | int = 0.1,
    subsample: int = 0,
    key: PRNGKeyArray | None = None,
) -> Float[Array, ""]:
    """Compute the OIM loss in float32: the mean of -log p over labelled rows (Xiao et al. 2017, Eq. 2).

    PersonVLAD has it as Eq. 6. The logits are the products of a feature with every row of `table` and `queue`, divided
    by `temperature`. Rows that are not filled yet are zero and take part, as in the released code of Xiao et al.

    Args:
      features: [B, D] unit vectors.
      labels: [B] identities; a row with label -1 has no loss of its own.
      table: [N, D] as in `OIMMemory`.
      queue: [Q, D] likewise.
      temperature: above 0.
      subsample: if above 0, the denominator sums over the row's own identity and this many rows of the table and of the
        queue, drawn once for the batch; the drawn rows are not reweighted to stand for the others (**choice**).
      key: of that draw.

    Returns:
      The loss; 0 without a labelled row, NaN if a label is N or above.

    Raises:
      InputError: for a temperature or subsample out of range, and a subsample without a key.
    """
    if temperature <= 0 or subsample < 0:
        raise InputError(
            f"oim: temperature must be above 0 and subsample at least 0, not {temperature} and {subsample}"
        )
    features, labels = jnp.asarray(features, jnp.float32), jnp.asarray(labels)
    queue = jnp.zeros((0, table.shape[1])) if queue is None else queue
    table, queue = (jax.lax.stop_gradient(jnp.asarray(x, jnp.float32)) for x in (table, queue))
    labelled = labels >= 0
    own = jnp.where(labelled, labels, 0)
    own_logits = jnp.einsum("bd,bd->b", features, table[own], precision=Precision.HIGHEST) / temperature
    rows = jnp.arange(len(table))
    if 0 < subsample < len(table):
        rows = jax.random.choice(_required(key), len(table), (subsample,), replace=False)
    if 0 < subsample < len(queue):
        queue = queue[jax.random.choice(jax.random.fold_in(_required(key), 1), len(queue), (subsample,), replace=False)]
    others = jnp.concatenate([table[rows], queue])
    logits = jnp.matmul(features, others.T, precision=Precision.HIGHEST) / temperature
    # The row's own identity enters once, as the first column, whether it was drawn or not.
    is_own = jnp.pad(rows, (0, len(queue)), constant_values=-1)[None] == own[:, None]
    logits = jnp.concatenate([own_logits[:, None], jnp.where(is_own, -jnp.inf, logits)], axis=1)
    loss = jax.nn.logsumexp(logits, axis=1) - own_logits
    loss = jnp.where(labels < len(table), loss, jnp.nan)
    return jnp.where(labelled, loss, 0.0).sum() / jnp.maximum(labelled.sum(), 1).astype(jnp.float32)


def _required(key: PRNGKeyArray | None) -> PRNGKeyArray:
    if key is None:
        raise InputError("oim: subsample needs a key: pass key=jax.random.key(…)")
    return key
