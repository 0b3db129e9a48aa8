"""Who is a good match of whom: the matching rule that every score in this room shares."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

DISTRACTOR = 0
JUNK = -1


class Match(NamedTuple):
    """The gallery rows that matter to one query, both ascending; every other row is a negative, distractors too."""

    query: int
    good: np.ndarray
    ignored: np.ndarray


def matches(
    query_pids: np.ndarray, gallery_pids: np.ndarray, query_camids: np.ndarray, gallery_camids: np.ndarray
) -> Iterator[Match]:
    """For every query, in order: good = same pid and another camera; ignored = same pid and same camera, and junk.

    All arguments are int64 vectors. Distractors (pid 0) and junk (pid -1) are no persons: as queries they have no good
    rows.
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
