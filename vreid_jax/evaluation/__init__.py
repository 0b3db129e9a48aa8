"""From tracklets to features to scores."""

from vreid_jax.evaluation.distances import Distances, FeatureDistances, distance_table
from vreid_jax.evaluation.scores import open_set, parse_selection, score, selection_scores, twin_scores
from vreid_jax.evaluation.test_set import TestSet, check_answerable, make_test_set, ranked, select

__all__ = [
    "Distances",
    "FeatureDistances",
    "TestSet",
    "check_answerable",
    "distance_table",
    "make_test_set",
    "open_set",
    "parse_selection",
    "ranked",
    "score",
    "select",
    "selection_scores",
    "twin_scores",
]
