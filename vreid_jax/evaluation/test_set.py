"""The test set: distinct tracklets of query and gallery, and what each protocol takes of them."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from vreid_jax import data, retrieval
from vreid_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class TestSet:
    """The distinct tracklets of query and gallery, without junk.

    Attributes:
      tracklets: the distinct tracklets, each embedded once.
      query: the query split.
      gallery: the gallery split.
      query_rows: [Q] row of each query in `tracklets`.
      gallery_rows: [G] row of each gallery tracklet in `tracklets`, -1 for junk.
    """

    __test__ = False  # pytest would collect it by its name

    tracklets: data.JoinedSource
    query: data.TrackletSource
    gallery: data.TrackletSource
    query_rows: np.ndarray
    gallery_rows: np.ndarray


def make_test_set(query: data.TrackletSource, gallery: data.TrackletSource) -> TestSet:
    """Join the two splits: a tracklet that is in both is embedded once, junk (pid -1) not at all.

    Raises:
      InputError: when one of the splits is empty.
    """
    for split in (query, gallery):
        if not len(split):
            raise InputError(f"the split {split.split} is empty, so there is nothing to rank")
    rows, query_rows, gallery_rows = retrieval.protocols.distinct_tracklets(query.tracklet_ids, gallery.tracklet_ids)
    pids = np.concatenate([query.pids, gallery.pids])[rows]
    kept = pids != -1
    number = np.where(kept, np.cumsum(kept) - 1, -1)
    joined = data.JoinedSource((query, gallery), rows[kept])
    return TestSet(joined, query, gallery, number[query_rows], number[gallery_rows])


def check_answerable(test: TestSet, protocol: str) -> None:
    """Raise `InputError` if no query has a match from another camera in the gallery."""
    query, gallery = select(test, protocol)
    cameras: dict[int, set[int]] = {}
    for pid, camid in zip(test.gallery.pids[gallery].tolist(), test.gallery.camids[gallery].tolist(), strict=True):
        cameras.setdefault(pid, set()).add(camid)
    asked = zip(test.query.pids[query].tolist(), test.query.camids[query].tolist(), strict=True)
    if not any(cameras.get(pid, set()) - {camid} for pid, camid in asked):
        raise InputError(
            f"no query of protocol {protocol} has a tracklet of its identity from another camera in the gallery, so "
            "there is nothing to score: check the pids and cameras of query and gallery"
        )


def select(test: TestSet, protocol: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of `test.query` [Q] and of `test.gallery` [G] that a protocol uses."""
    return retrieval.protocols.get(protocol).select(
        test.query.tracklet_ids,
        test.query.pids,
        test.query.camids,
        test.gallery.tracklet_ids,
        test.gallery.pids,
        test.gallery.camids,
    )


def ranked(test: TestSet, protocols: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """Return `f(rows [R])` -> [P, R, N] bool: which of `test.tracklets` each protocol ranks for these of them.

    Those are its gallery without what it ignores: the row itself, and what else shows its person in its camera.
    """
    pids, camids = test.tracklets.pids, test.tracklets.camids
    inside = np.zeros((len(protocols), len(pids)), bool)
    for own, protocol in zip(inside, protocols, strict=True):
        own[test.gallery_rows[select(test, protocol)[1]]] = True

    def of_rows(rows: np.ndarray) -> np.ndarray:
        ignored = (pids == pids[rows][:, None]) & (camids == camids[rows][:, None])
        return inside[:, None] & ~ignored

    return of_rows
