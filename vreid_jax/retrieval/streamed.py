"""Exact nearest neighbours in a gallery that comes block by block, from whatever holds it, and is never there as a whole."""

# Types that JAX leaves unknown: of `device` in its signatures, and of what a jitted function returns.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import numpy as np
from jax.sharding import Mesh

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays
from vreid_jax.retrieval.arrays import ArrayLike
from vreid_jax.retrieval.block_size import block_bytes
from vreid_jax.retrieval.distances import check_metric, keep_up, pad_rows, place, prepare
from vreid_jax.retrieval.neighbours import Found, merge_block, none_found

MOST_ROWS = 1 << 16  # of a block: a larger one is not faster


class StreamedNearest:
    """The `k` nearest of the rows that were added so far, for each query.

    Attributes:
      block_rows: how many rows fill a block; a shorter one is padded, and takes as long.
    """

    def __init__(
        self,
        query: ArrayLike,
        k: int,
        metric: str = "euclidean",
        *,
        mesh: Mesh | None = None,
        max_bytes: int | None = None,
    ):
        """Begin with an empty gallery.

        Args:
          query: [Q, D] features.
          k: neighbours of each query, at least 1.
          metric: as for `pairwise_distance`.
          mesh: devices of this process; every block is sharded over the axis `data`.
          max_bytes: memory for a block and its distances; `block_bytes` by default.

        Raises:
          InputError: for a `k` below 1 and for what `pairwise_distance` refuses.
        """
        check_metric(metric)
        self._metric, self._mesh = metric, mesh
        queries = arrays.features("query", query, require_finite_squares=metric != "cosine")
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}.")
        self._dimensions = queries.shape[1]
        self._queries = place(prepare(queries, metric), mesh)
        none = none_found(len(queries), k)
        self._best: Found = (place(none[0], mesh), place(none[1], mesh), place(none[2], mesh))
        devices = 1 if mesh is None else mesh.shape["data"]
        budget = block_bytes(mesh) if max_bytes is None else max_bytes
        # The block on host and device, its mask, and about three copies of its distances.
        rows = min(MOST_ROWS, budget // (8 * self._dimensions + 13 * len(queries)))
        self.block_rows = max(1, rows // devices) * devices
        self._added = 0

    def add(self, block: np.ndarray, hidden: np.ndarray | None = None) -> None:
        """Add rows to the gallery.

        Args:
          block: [B, D] float32, B at most `block_rows`.
          hidden: [Q, B] booleans: rows that a query must not find.

        Raises:
          InputError: for rows of another dimension or that are not finite.
        """
        if block.shape[1] != self._dimensions:
            raise InputError(
                f"query has {self._dimensions} dimensions and gallery has {block.shape[1]}; they must agree."
            )
        arrays.check_finite("gallery", block, self._added, self._metric != "cosine")
        count = self._queries.shape[0]
        mask = np.ones((count, self.block_rows), np.bool_)
        mask[:, : len(block)] = False if hidden is None else hidden
        rows = pad_rows(prepare(block, self._metric), self.block_rows)
        before, self._best = (
            self._best,
            merge_block(
                self._queries,
                place(rows, self._mesh, "data"),
                self._best,
                self._added,
                self._added + self.block_rows,  # what only fills the block is hidden
                self._metric,
                self._mesh,
                place(mask, self._mesh, None, "data"),
            ),
        )
        keep_up(before, self._mesh)
        self._added += len(block)

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        """Return distances [Q, k] float32 and places [Q, k] int64 in the order of addition, from near to far.

        Ties come in the order of addition. Where fewer than `k` rows may be found the rest is at an infinite distance.
        """
        return np.asarray(self._best[0]), np.asarray(self._best[1]).astype(np.int64)
