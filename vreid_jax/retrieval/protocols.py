"""Evaluation protocols by name: which tracklets of a dataset are queries and which are the gallery.

All protocols share the rule for good and ignored rows (`matching`); they differ in the two sets.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vreid_jax.config.fields import nearest
from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays, matching
from vreid_jax.retrieval.arrays import ArrayLike

TrackletIds = Sequence[str] | Sequence[bytes] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A protocol: described in words for tables and reports, and as a rule that selects rows.

    Attributes:
      name: unique among protocols.
      query: what the queries are.
      gallery: what the gallery is.
      ignored: what is ignored for a query.
      queries_in_gallery: "required", "removed" (from the gallery) or "as given".
      two_cameras: whether queries come from one camera and the gallery from another.
      num_splits: splits of the dataset over which scores are averaged.
    """

    name: str
    query: str
    gallery: str
    ignored: str
    queries_in_gallery: str = "as given"
    two_cameras: bool = False
    num_splits: int = 1

    def select(
        self,
        query_ids: TrackletIds,
        query_pids: ArrayLike,
        query_camids: ArrayLike,
        gallery_ids: TrackletIds,
        gallery_pids: ArrayLike,
        gallery_camids: ArrayLike,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Select the rows that this protocol uses, in their order.

        Junk (pid -1) is left out of the gallery: it is ignored for every query, so its features are not needed.

        Args:
          query_ids: [Q] tracklet ids, str or bytes.
          query_pids: [Q] identities.
          query_camids: [Q] cameras.
          gallery_ids: [G] tracklet ids.
          gallery_pids: [G] identities.
          gallery_camids: [G] cameras.

        Returns:
          The rows of the query arrays and those of the gallery arrays, int64.

        Raises:
          InputError: for a tracklet listed twice, queries that the protocol requires in the gallery and that are not
            there, cameras that do not fit a two-camera protocol, and when no query or no gallery tracklet is left.
        """
        queries, gallery = arrays.tracklet_ids(query_ids), arrays.tracklet_ids(gallery_ids)
        arrays.identities("query_pids", query_pids, len(queries))
        query_cameras = arrays.identities("query_camids", query_camids, len(queries))
        identities = arrays.identities("gallery_pids", gallery_pids, len(gallery))
        gallery_cameras = arrays.identities("gallery_camids", gallery_camids, len(gallery))
        for name, ids in (("query", queries), ("gallery", gallery)):
            distinct, counts = np.unique(ids, return_counts=True)
            if len(distinct) < len(ids):
                raise InputError(
                    f"Protocol {self.name}: tracklet {str(distinct[counts > 1][0])!r} occurs twice in the {name}."
                )
        keep = identities != matching.JUNK
        if self.queries_in_gallery == "required":
            missing = queries[~np.isin(queries, gallery)]
            if len(missing):
                raise InputError(
                    f"Protocol {self.name}: {len(missing)} of {len(queries)} query tracklets are not in the gallery, "
                    f"the first is {str(missing[0])!r}; the gallery must hold every test tracklet."
                )
        elif self.queries_in_gallery == "removed":
            keep &= ~np.isin(gallery, queries)
        if self.two_cameras:
            both = np.intersect1d(query_cameras, gallery_cameras[keep])
            if len(both):
                raise InputError(
                    f"Protocol {self.name}: camera {both[0]} occurs in the query and in the gallery; "
                    "queries must come from one camera and the gallery from the other."
                )
        if not len(queries):
            raise InputError(f"Protocol {self.name}: there is no query tracklet.")
        if not keep.any():
            raise InputError(
                f"Protocol {self.name}: nothing is left of the gallery; its {len(gallery)} tracklets are junk or "
                "queries. Name another protocol in evaluation.protocols."
            )
        return np.arange(len(queries)), np.flatnonzero(keep)


_SAME_CAMERA = "same person in the same camera"
_WITH_JUNK = f"{_SAME_CAMERA}; junk (pid -1)"

_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "mars",
            query="the 1,980 tracklets of query_IDX, one per person and camera",
            gallery="all 12,180 test tracklets, the queries among them",
            ignored=f"{_WITH_JUNK}, which leaves 11,310",
            queries_in_gallery="required",
        ),
        Protocol(
            "mars_query_free",
            query="the 1,980 tracklets of query_IDX, of which 1,840 stay valid",
            gallery="test tracklets without queries and junk: 9,330",
            ignored=_WITH_JUNK,
            queries_in_gallery="removed",
        ),
        Protocol(
            "ilids_vid",
            query="camera 1 of the split's 150 test persons",
            gallery="camera 2 of the same persons",
            ignored="nothing",
            two_cameras=True,
            num_splits=10,
        ),
        Protocol(
            "prid2011",
            query="camera A of the split's 89 test persons",
            gallery="camera B of the same persons",
            ignored="nothing",
            two_cameras=True,
            num_splits=10,
        ),
        Protocol(
            "duke_video",
            query="the tracklets of the query folder",
            gallery="the tracklets of the gallery folder, 408 distractor persons among them",
            ignored=_SAME_CAMERA,
        ),
        Protocol(
            "walkers",
            query="one tracklet per test person and camera",
            gallery="all test tracklets, distractors and the queries among them",
            ignored=_WITH_JUNK,
        ),
        Protocol(
            "folder",
            query="the tracklets of the query folder",
            gallery="the tracklets of the gallery folder",
            ignored=_WITH_JUNK,
        ),
    )
}


def names() -> tuple[str, ...]:
    """Return the names of all protocols."""
    return tuple(_PROTOCOLS)


def get(name: str) -> Protocol:
    """Return the protocol called `name`; raise `InputError` with the nearest name if there is none."""
    if name not in _PROTOCOLS:
        raise InputError(f"there is no protocol {name!r}{nearest(name, _PROTOCOLS)}")
    return _PROTOCOLS[name]


def distinct_tracklets(query_ids: TrackletIds, gallery_ids: TrackletIds) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find what to embed when query tracklets appear in the gallery again: each tracklet id once.

    Args:
      query_ids: [Q] tracklet ids.
      gallery_ids: [G] tracklet ids.

    Returns:
      `(rows, query_rows, gallery_rows)`: `rows` [N] index the concatenation of queries and gallery at the first
      appearance of each id, in that order. If `features` [N, D] are those of `rows`, `features[query_rows]` and
      `features[gallery_rows]` are the features of the two sets.
    """
    ids = np.concatenate([arrays.tracklet_ids(query_ids), arrays.tracklet_ids(gallery_ids)])
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    position = np.empty(len(first), np.int64)
    position[order] = np.arange(len(first))
    table = position[inverse]
    return first[order], table[: len(query_ids)], table[len(query_ids) :]


def query_index(query_ids: TrackletIds, gallery_ids: TrackletIds) -> np.ndarray | None:
    """Return the gallery row [Q] of each query, for `rerank`; None if no query is in the gallery.

    Raises:
      InputError: if only some queries are in the gallery; re-ranking is defined for all or none.
    """
    queries, gallery = arrays.tracklet_ids(query_ids), arrays.tracklet_ids(gallery_ids)
    row = {tracklet: number for number, tracklet in enumerate(gallery.tolist())}
    found = np.array([row.get(tracklet, -1) for tracklet in queries.tolist()], np.int64)
    if (found >= 0).all():
        return found
    if (found < 0).all():
        return None
    raise InputError(
        f"{(found < 0).sum()} of {len(found)} query tracklets are not in the gallery, the first is "
        f"{str(queries[found < 0][0])!r}; for re-ranking all queries must be in it, or none."
    )
