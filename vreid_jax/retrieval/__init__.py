"""Distances, rankings and their scores: pure functions that take NumPy or JAX arrays and return NumPy arrays."""

from vreid_jax.retrieval import protocols
from vreid_jax.retrieval.camera_confusion import CameraConfusion, camera_confusion
from vreid_jax.retrieval.clip_pairs import top_t_distance, top_t_similarity
from vreid_jax.retrieval.device_ranking import evaluate
from vreid_jax.retrieval.distances import pairwise_distance
from vreid_jax.retrieval.kissme import KISSME
from vreid_jax.retrieval.neighbours import top_k
from vreid_jax.retrieval.open_set import AcceptCurve, identification, verification
from vreid_jax.retrieval.pair_covariance import split_views
from vreid_jax.retrieval.ranking import Ranking, rank
from vreid_jax.retrieval.reranking import rerank, rerank_distances
from vreid_jax.retrieval.splits import mean_std_over_splits
from vreid_jax.retrieval.tracklet_selection import SelectedDistances, select_tracklets
from vreid_jax.retrieval.xqda import XQDA

__all__ = [
    "KISSME",
    "XQDA",
    "AcceptCurve",
    "CameraConfusion",
    "Ranking",
    "SelectedDistances",
    "camera_confusion",
    "evaluate",
    "identification",
    "mean_std_over_splits",
    "pairwise_distance",
    "protocols",
    "rank",
    "rerank",
    "rerank_distances",
    "select_tracklets",
    "split_views",
    "top_k",
    "top_t_distance",
    "top_t_similarity",
    "verification",
]
