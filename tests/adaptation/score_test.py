"""The score of what is held back, worked out by hand."""

import math

import numpy as np
import pytest

from vreid_jax.adaptation.score import held_back_score


def test_the_probability_of_the_other_half_among_all_tracks():
    # Track 0 is held back. Its halves have cosine 0.6.
    first = np.array([[1.0, 0.0], [0.8, 0.6]])
    second = np.array([[0.6, 0.8], [0.0, 1.0]])
    # The first half against 0.6 (its own) and 0.0 (the other's second), the second against 0.6 and 0.96.
    expected = [-math.log(1 + math.exp((other - 0.6) / 0.1)) for other in (0.0, 0.96)]
    assert held_back_score(first, second, np.array([0])) == pytest.approx(np.mean(expected))


def test_a_perfect_model_has_nearly_zero_and_a_blind_one_the_logarithm_of_chance():
    eye = np.eye(4)
    assert -1e-3 < held_back_score(eye, eye, np.array([1, 2])) < 0
    same = np.ones((4, 1))
    assert held_back_score(same, same, np.array([1, 2])) == pytest.approx(math.log(1 / 4))
