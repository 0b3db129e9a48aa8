"""Scores by pair of cameras, as the MARS evaluation shows them."""

from typing import NamedTuple

import numpy as np

from vreid_jax.retrieval import arrays
from vreid_jax.retrieval.ranking import Ranking, average_precisions


class CameraConfusion(NamedTuple):
    """Cell [i, j]: queries of `query_cameras[i]`, good rows of `gallery_cameras[j]`; NaN where there is no such pair."""

    query_cameras: np.ndarray
    gallery_cameras: np.ndarray
    rank1: np.ndarray
    mAP: np.ndarray
    mAP_trapezoid: np.ndarray
    num_queries: np.ndarray


def camera_confusion(ranking: Ranking, query_camids, gallery_camids) -> CameraConfusion:
    """Rank-1 and both mAPs of `ranking` for each pair of a query's and a gallery camera.

    For a cell, the good rows of all other cameras are ignored; negatives of every camera stay. `query_camids` [Q] and
    `gallery_camids` [G] are those that `rank` was given. Raises `InputError` if the query lengths do not fit.
    """
    query_camids = arrays.identities("query_camids", query_camids, ranking.num_queries)
    gallery_camids = arrays.identities("gallery_camids", gallery_camids, len(np.asarray(gallery_camids)))
    query_cameras, gallery_cameras = np.unique(query_camids), np.unique(gallery_camids)
    shape = len(query_cameras), len(gallery_cameras)
    cells = {name: np.full(shape, np.nan) for name in ("rank1", "mAP", "mAP_trapezoid")}
    num_queries = np.zeros(shape, np.int64)
    order = _running_count(ranking.match_query)
    for j, camera in enumerate(gallery_cameras):
        inside = gallery_camids[ranking.match_gallery] == camera
        query = ranking.match_query[inside]
        inside_order = _running_count(query)
        # Good rows of other cameras that stand in front are taken out of the count.
        rank = ranking.match_rank[inside] - (order[inside] - inside_order)
        counts = np.bincount(query, minlength=ranking.num_queries)
        standard, trapezoid = average_precisions(query, rank, inside_order, counts)
        first = np.full(ranking.num_queries, np.nan)
        first[query[inside_order == 0]] = rank[inside_order == 0] == 0
        for i, query_camera in enumerate(query_cameras):
            rows = (query_camids == query_camera) & (counts > 0)
            num_queries[i, j] = rows.sum()
            if rows.any():
                for name, values in (("rank1", first), ("mAP", standard), ("mAP_trapezoid", trapezoid)):
                    cells[name][i, j] = values[rows].mean()
    return CameraConfusion(query_cameras, gallery_cameras, **cells, num_queries=num_queries)


def _running_count(groups: np.ndarray) -> np.ndarray:
    """For ascending `groups` [M], how many equal entries stand before each."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.arange(len(groups)) - first[inverse] if len(groups) else np.zeros(0, np.int64)
