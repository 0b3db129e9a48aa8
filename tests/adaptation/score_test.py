"""The score of what is held back, worked out by hand."""

import numpy as np

from vreid_jax.adaptation.score import clearly_worse, held_back_ranks


def test_one_over_the_rank_of_the_other_half_among_all_tracks():
    # Track 0 is held back. Its halves have cosine 0.6; the first half finds 0.0 besides, the second one 0.96.
    first = np.array([[1.0, 0.0], [0.8, 0.6]])
    second = np.array([[0.6, 0.8], [0.0, 1.0]])
    np.testing.assert_array_equal(held_back_ranks(first, second, np.array([0])), [1.0, 0.5])


def test_a_perfect_model_has_one_and_a_blind_one_the_last_rank():
    eye = np.eye(4)
    np.testing.assert_array_equal(held_back_ranks(eye, eye, np.array([1, 2])), np.ones(4))
    same = np.ones((4, 1))
    np.testing.assert_array_equal(held_back_ranks(same, same, np.array([1, 2])), np.full(4, 0.25))


def test_worse_is_a_fall_beyond_two_standard_errors():
    before = np.ones(4)
    # Differences 0, 0, 0, -0.5: mean -0.125, deviation 0.25, standard error 0.125, exactly one of them.
    assert not clearly_worse(np.array([1, 1, 1, 0.5]), before)
    # 0, -0.5, -0.5, -0.5: mean -0.375, three standard errors.
    assert clearly_worse(np.array([1, 0.5, 0.5, 0.5]), before)
    assert not clearly_worse(before, before)
    assert not clearly_worse(before, np.array([1, 0.5, 0.5, 0.5]))
