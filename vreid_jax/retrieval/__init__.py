"""Retrieval: distances, rankings and their scores. Pure functions of arrays; NumPy or JAX in, NumPy out."""

from vreid_jax.retrieval import protocols
from vreid_jax.retrieval.distances import pairwise_distance
from vreid_jax.retrieval.neighbours import top_k
from vreid_jax.retrieval.ranking import Ranking, rank
from vreid_jax.retrieval.reranking import rerank, rerank_distances

__all__ = ["Ranking", "pairwise_distance", "protocols", "rank", "rerank", "rerank_distances", "top_k"]
