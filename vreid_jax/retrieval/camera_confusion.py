"""Scores for each pair of cameras, as the MARS evaluation reports them."""

from typing import NamedTuple

import numpy as np

from vreid_jax.retrieval import arrays
from vreid_jax.retrieval.arrays import ArrayLike
from vreid_jax.retrieval.ranking import Ranking, average_precisions


class CameraConfusion(NamedTuple):
    """Scores by camera pair; cell [i, j] is NaN where no query of camera i has a good row in camera j.

    Attributes:
      query_cameras: [I] the cameras of the queries, ascending.
      gallery_cameras: [J] the cameras of the gallery, ascending.
      rank1: [I, J] rank-1, a fraction.
      mAP: [I, J] mean of the standard average precision.
      mAP_trapezoid: [I, J] mean of the trapezoid average precision.
      num_queries: [I, J] queries that the cell averages over.
    """

    query_cameras: np.ndarray
    gallery_cameras: np.ndarray
    rank1: np.ndarray
    mAP: np.ndarray
    mAP_trapezoid: np.ndarray
    num_queries: np.ndarray


def camera_confusion(ranking: Ranking, query_camids: ArrayLike, gallery_camids: ArrayLike) -> CameraConfusion:
    """Compute rank-1 and both mAPs of `ranking` for each pair of a query camera and a gallery camera.

    In a cell, good rows of all other gallery cameras are ignored; negatives of every camera stay.

    Args:
      ranking: the result of `rank`.
      query_camids: [Q] the cameras that `rank` was given.
      gallery_camids: [G] likewise.

    Raises:
      InputError: if `query_camids` does not have one entry for each query of `ranking`.
    """
    query_cams = arrays.identities("query_camids", query_camids, ranking.num_queries)
    gallery_cams = arrays.identities("gallery_camids", gallery_camids, np.size(gallery_camids))
    query_cameras, gallery_cameras = np.unique(query_cams), np.unique(gallery_cams)
    shape = len(query_cameras), len(gallery_cameras)
    cells = {name: np.full(shape, np.nan) for name in ("rank1", "mAP", "mAP_trapezoid")}
    num_queries = np.zeros(shape, np.int64)
    order = _running_count(ranking.match_query)
    for j, camera in enumerate(gallery_cameras):
        inside = gallery_cams[ranking.match_gallery] == camera
        query = ranking.match_query[inside]
        inside_order = _running_count(query)
        # Good rows of other cameras ahead of a match do not count towards its rank.
        rank = ranking.match_rank[inside] - (order[inside] - inside_order)
        counts = np.bincount(query, minlength=ranking.num_queries)
        standard, trapezoid = average_precisions(query, rank, inside_order, counts)
        first = np.full(ranking.num_queries, np.nan)
        first[query[inside_order == 0]] = rank[inside_order == 0] == 0
        for i, query_camera in enumerate(query_cameras):
            rows = (query_cams == query_camera) & (counts > 0)
            num_queries[i, j] = rows.sum()
            if rows.any():
                for name, values in (("rank1", first), ("mAP", standard), ("mAP_trapezoid", trapezoid)):
                    cells[name][i, j] = values[rows].mean()
    return CameraConfusion(query_cameras, gallery_cameras, **cells, num_queries=num_queries)


def _running_count(groups: np.ndarray) -> np.ndarray:
    """Return how many equal entries precede each entry of the ascending `groups` [M]."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.arange(len(groups)) - first[inverse] if len(groups) else np.zeros(0, np.int64)
