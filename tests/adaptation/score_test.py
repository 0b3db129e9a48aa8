"""The score of what is held back, worked out by hand."""

import math

import numpy as np
import pytest

from vreid_jax.adaptation.score import held_back_score


def test_the_probability_of_the_other_half_among_other_people():
    # Track 0 is held back. Its halves have cosine 0.6; track 1 is of somebody else, of track 2 nothing is known.
    first = np.array([[1.0, 0.0], [0.8, 0.6], [1.0, 0.0]])
    second = np.array([[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
    different = np.zeros((3, 3), bool)
    different[0, 1] = different[1, 0] = True
    # The first half against (0.6, own; 0.0, the other's second), the second against (0.6; 0.96, the other's first).
    expected = [-math.log(1 + math.exp((other - 0.6) / 0.1)) for other in (0.0, 0.96)]
    assert held_back_score(first, second, np.array([0]), different) == pytest.approx(np.mean(expected))


def test_a_perfect_model_has_nearly_zero_and_nobody_to_mistake_exactly_zero():
    eye = np.eye(4)
    assert -1e-3 < held_back_score(eye, eye, np.array([1, 2]), ~np.eye(4, dtype=bool)) < 0
    assert held_back_score(eye, eye, np.array([1, 2]), np.zeros((4, 4), bool)) == 0
