import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError


def test_two_splits_worked_by_hand():
    mean, std = retrieval.mean_std_over_splits(
        [{"num_queries": 89, "rank1": 0.6, "cmc": [0.6, 0.7]}, {"num_queries": 89, "rank1": 0.8, "cmc": [0.8, 0.9]}]
    )
    assert mean["num_queries"] == 89
    assert isinstance(mean["num_queries"], int)
    assert mean["rank1"] == pytest.approx(0.7)
    np.testing.assert_allclose(mean["cmc"], [0.7, 0.8])
    assert std["num_queries"] == 0
    assert std["rank1"] == pytest.approx(0.1 * np.sqrt(2))
    np.testing.assert_allclose(std["cmc"], [0.1 * np.sqrt(2)] * 2)


def test_a_single_split_has_no_spread_and_counts_that_differ_are_averaged():
    mean, std = retrieval.mean_std_over_splits([{"rank1": 0.5}])
    assert (mean, std) == ({"rank1": 0.5}, {"rank1": 0.0})
    mean, _ = retrieval.mean_std_over_splits([{"num_valid_queries": 89}, {"num_valid_queries": 88}])
    assert mean == {"num_valid_queries": 88.5}


def test_unusable_input_is_one_clear_sentence():
    with pytest.raises(InputError, match="at least one split"):
        retrieval.mean_std_over_splits([])
    with pytest.raises(InputError, match="same entries"):
        retrieval.mean_std_over_splits([{"rank1": 0.5}, {"rank5": 0.5}])
    with pytest.raises(InputError, match="length of 'cmc'"):
        retrieval.mean_std_over_splits([{"cmc": [1.0]}, {"cmc": [1.0, 1.0]}])
