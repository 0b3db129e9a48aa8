"""The matching rule that all scores share: which gallery rows are good, ignored or negative for a query."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

DISTRACTOR = 0
JUNK = -1


class Match(NamedTuple):
    """The good and the ignored gallery rows of one query.

    Every other row is a negative, distractors included.

    Attributes:
      query: the query's row.
      good: [K] rows of the same person from other cameras, ascending.
      ignored: [I] rows that do not count, ascending.
    """

    query: int
    good: np.ndarray
    ignored: np.ndarray


def matches(
    query_pids: np.ndarray, gallery_pids: np.ndarray, query_camids: np.ndarray, gallery_camids: np.ndarray
) -> Iterator[Match]:
    """Iterate over the matches of every query, in order.

    Good rows have the query's pid and another camera; ignored rows have its pid and its camera, or are junk (pid -1).
    Distractors (pid 0) and junk are not persons: as queries they have no good rows. All arguments are int64 vectors.
    """
    order = np.argsort(gallery_pids, kind="stable")
    sorted_pids = gallery_pids[order]
    begins = np.searchsorted(sorted_pids, query_pids, side="left")
    ends = np.searchsorted(sorted_pids, query_pids, side="right")
    junk = np.flatnonzero(gallery_pids == JUNK)
    nothing = junk[:0]
    for query in range(len(query_pids)):
        if query_pids[query] == JUNK:
            yield Match(query, nothing, junk)
            continue
        same_pid = order[begins[query] : ends[query]]
        same_camera = gallery_camids[same_pid] == query_camids[query]
        good = nothing if query_pids[query] == DISTRACTOR else same_pid[~same_camera]
        ignored = same_pid[same_camera]
        yield Match(query, good, np.sort(np.concatenate([ignored, junk])) if len(junk) else ignored)
