"""Evaluation protocols by name: which tracklets of a dataset are queries and which are the gallery.

What counts as good and what is ignored for a query is the same everywhere (`matching`); protocols differ in the two sets.
"""

import dataclasses
import difflib

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays, matching


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A protocol, described in words for tables and reports, and as a rule that selects rows."""

    name: str
    query: str
    gallery: str
    ignored: str
    queries_in_gallery: str = "as given"
    """"required", "removed" (from the gallery) or "as given"."""
    two_cameras: bool = False
    """Queries come from one camera, the gallery from another."""
    num_splits: int = 1

    def select(
        self, query_ids, query_pids, query_camids, gallery_ids, gallery_pids, gallery_camids
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the query arrays [Q] and gallery arrays [G] that this protocol uses: two int64 vectors.

        `*_ids` are tracklet ids (texts), `*_pids` and `*_camids` whole numbers. Order is kept. Junk (pid -1) is left
        out of the gallery: it is ignored for every query, so its features are not needed.

        Raises:
          InputError: a tracklet is listed twice, queries that the protocol requires in the gallery are missing there,
            cameras do not fit a two-camera protocol, or no query or gallery tracklet is left.
        """
        query_ids = arrays.tracklet_ids("query_ids", query_ids)
        gallery_ids = arrays.tracklet_ids("gallery_ids", gallery_ids)
        arrays.identities("query_pids", query_pids, len(query_ids))
        query_camids = arrays.identities("query_camids", query_camids, len(query_ids))
        gallery_pids = arrays.identities("gallery_pids", gallery_pids, len(gallery_ids))
        gallery_camids = arrays.identities("gallery_camids", gallery_camids, len(gallery_ids))
        for name, ids in (("query", query_ids), ("gallery", gallery_ids)):
            distinct, counts = np.unique(ids, return_counts=True)
            if len(distinct) < len(ids):
                raise InputError(
                    f"Protocol {self.name}: tracklet {str(distinct[counts > 1][0])!r} occurs twice in the {name}."
                )
        keep = gallery_pids != matching.JUNK
        if self.queries_in_gallery == "required":
            missing = query_ids[~np.isin(query_ids, gallery_ids)]
            if len(missing):
                raise InputError(
                    f"Protocol {self.name}: {len(missing)} of {len(query_ids)} query tracklets are not in the gallery, "
                    f"the first is {str(missing[0])!r}; the gallery must hold every test tracklet."
                )
        elif self.queries_in_gallery == "removed":
            keep &= ~np.isin(gallery_ids, query_ids)
        if self.two_cameras:
            both = np.intersect1d(query_camids, gallery_camids[keep])
            if len(both):
                raise InputError(
                    f"Protocol {self.name}: camera {both[0]} occurs in the query and in the gallery; "
                    "queries must come from one camera and the gallery from the other."
                )
        if not len(query_ids):
            raise InputError(f"Protocol {self.name}: there is no query tracklet.")
        if not keep.any():
            raise InputError(
                f"Protocol {self.name}: nothing is left of the gallery; its {len(gallery_ids)} tracklets are junk or "
                "queries. Name another protocol in evaluation.protocols."
            )
        return np.arange(len(query_ids)), np.flatnonzero(keep)


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
    """Return all protocol names."""
    return tuple(_PROTOCOLS)


def get(name: str) -> Protocol:
    """Return the protocol called `name`.

    Raises:
      InputError: there is none; the message names the nearest one.
    """
    if name not in _PROTOCOLS:
        near = difflib.get_close_matches(name, _PROTOCOLS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_PROTOCOLS)}."
        raise InputError(f"Unknown protocol {name!r}: {hint}")
    return _PROTOCOLS[name]


def distinct_tracklets(query_ids, gallery_ids) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what to embed when query tracklets are repeated in the gallery: each distinct `tracklet_id` once.

    Returns:
      `(rows, query_rows, gallery_rows)`: `rows` [N] index the concatenation of queries [Q] and gallery [G] at the first
      appearance of each id, in that order. With the table `features` [N, D] of those rows, `features[query_rows]` [Q]
      and `features[gallery_rows]` [G] are the features of both sets.
    """
    ids = np.concatenate([arrays.tracklet_ids("query_ids", query_ids), arrays.tracklet_ids("gallery_ids", gallery_ids)])
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    position = np.empty(len(first), np.int64)
    position[order] = np.arange(len(first))
    table = position[inverse]
    return first[order], table[: len(query_ids)], table[len(query_ids) :]


def query_index(query_ids, gallery_ids) -> np.ndarray | None:
    """Return the gallery row [Q] of each query, for `rerank`, or None if no query is in the gallery.

    Raises:
      InputError: only some queries are in the gallery, which re-ranking does not allow.
    """
    query_ids = arrays.tracklet_ids("query_ids", query_ids)
    gallery_ids = arrays.tracklet_ids("gallery_ids", gallery_ids)
    row = {tracklet: number for number, tracklet in enumerate(gallery_ids.tolist())}
    found = np.array([row.get(tracklet, -1) for tracklet in query_ids.tolist()], np.int64)
    if (found >= 0).all():
        return found
    if (found < 0).all():
        return None
    raise InputError(
        f"{(found < 0).sum()} of {len(found)} query tracklets are not in the gallery, the first is "
        f"{str(query_ids[found < 0][0])!r}; for re-ranking all queries must be in it, or none."
    )
