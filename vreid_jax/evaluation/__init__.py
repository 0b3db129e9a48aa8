"""From tracklets to features to scores."""

from vreid_jax.evaluation.distances import distance_table, feature_distances, reranked
from vreid_jax.evaluation.scores import open_set, parse_selection, score, selection_scores, twin_scores
from vreid_jax.evaluation.test_set import TestSet, check_answerable, make_test_set, select

__all__ = [
    "TestSet",
    "check_answerable",
    "distance_table",
    "feature_distances",
    "make_test_set",
    "open_set",
    "parse_selection",
    "reranked",
    "score",
    "select",
    "selection_scores",
    "twin_scores",
]
