"""Which tracklets are near each other: pairs within a radius, found in blocks, of which memory holds a bounded number."""

from collections.abc import Callable

import numpy as np

from vreid_jax.retrieval.block_size import block_bytes
from vreid_jax.retrieval.distances import DistanceBlocks

MOST_NEIGHBOURS = 64  # of a tracklet among those behind it

Allowed = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes two [E] arrays of rows and returns [E] booleans."""


def pairs_within(
    vectors: np.ndarray,
    radius: float,
    metric: str,
    allowed: Allowed | None = None,
    *,
    first: np.ndarray | None = None,
    most: int = MOST_NEIGHBOURS,
    max_bytes: int | None = None,
    tell: Callable[[int], object] = lambda rows: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs of rows that are at most `radius` apart.

    Of each row only the `most` nearest of the rows behind it are kept, so that at most N · `most` pairs are in memory,
    whatever the radius.

    Args:
      vectors: [N, D] float32, finite.
      radius: largest distance.
      metric: as for `retrieval.pairwise_distance`.
      allowed: which pairs count at all; None: all.
      first: [F] rows of which each pair has at least one; None: all rows.
      most: see above.
      max_bytes: memory for blocks of distances; None: what serves the device.
      tell: is called with the number of rows that are done, again and again.

    Returns:
      pairs [E, 2] int32, the smaller row first, ordered by the first row, then by the second; distances [E] float32.
    """
    max_bytes = block_bytes() if max_bytes is None else max_bytes
    count = len(vectors)
    order = np.arange(count) if first is None else np.r_[first, np.setdiff1d(np.arange(count), first)]
    vectors = vectors if first is None else vectors[order]
    found = [_none()]
    leading = count if first is None else len(first)
    length = DistanceBlocks(vectors, vectors, metric, None, max_bytes).query_length
    for start in range(0, leading, length):
        stop = min(start + length, leading)
        blocks = DistanceBlocks(vectors[start:stop], vectors[start:], metric, None, max_bytes)
        near = _none()
        reach = np.full((stop - start, 1), radius, np.float32)  # of a row that has enough: its farthest that is kept
        for columns, block in zip(blocks.columns, blocks.of_rows(slice(0, stop - start)), strict=True):
            distances = np.asarray(block)[: stop - start, : columns.stop - columns.start]
            one, other = np.nonzero(distances <= reach)
            values, one, other = distances[one, other], one + start, other + columns.start + start
            kept = one < other
            if allowed is not None:
                kept[kept] = allowed(order[one[kept]], order[other[kept]])
            new = (one[kept], other[kept], values[kept])
            both = [np.concatenate(two) for two in zip(near, new, strict=True)]
            near = _nearest(both[0], both[1], both[2], most)
            full, ends = _full(near[0], most)
            reach[full - start, 0] = near[2][ends]
        found.append(near)
        tell(stop)
    one, other, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    pairs = np.sort(order.astype(np.int32)[np.stack([one, other], 1)], axis=1)
    by_row = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[by_row], values[by_row]


def _none() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)


def _nearest(
    one: np.ndarray, other: np.ndarray, values: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each row of `one` the `most` nearest pairs, ties by the other row."""
    order = np.lexsort((other, values, one))
    one, other, values = one[order].astype(np.int32), other[order].astype(np.int32), values[order]
    starts = np.flatnonzero(np.r_[True, one[1:] != one[:-1]]) if len(one) else np.empty(0, int)
    place = np.arange(len(one)) - np.repeat(starts, np.diff(np.r_[starts, len(one)]))
    kept = place < most
    return one[kept], other[kept], values[kept]


def _full(rows: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the values that occur `most` times in ascending `rows`, and the place of the last of each."""
    ends = np.flatnonzero(np.r_[rows[1:] != rows[:-1], True]) if len(rows) else np.empty(0, int)
    full = np.diff(np.r_[-1, ends]) == most
    return rows[ends[full]], ends[full]


class Neighbours:
    """The pairs as lists of neighbours: `of(row)` gives the [n] rows that are paired with one."""

    def __init__(self, pairs: np.ndarray, count: int):
        both = np.concatenate([pairs, pairs[:, ::-1]])
        order = np.argsort(both[:, 0], kind="stable")
        self._others = np.ascontiguousarray(both[order, 1])
        self._starts = np.searchsorted(both[order, 0], np.arange(count + 1))

    def of(self, row: int) -> np.ndarray:
        """Return the neighbours of a row."""
        return self._others[self._starts[row] : self._starts[row + 1]]
