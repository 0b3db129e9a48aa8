import jax
import numpy as np
import pytest

from vreid_jax.training.state import join_params, matching, split_params

PARAMS = {
    "spatial": {"conv": {"kernel": np.ones(2)}, "head": {"kernel": np.zeros(3), "bias": np.ones(1)}},
    "temporal": {"head": {"kernel": np.full(4, 2.0)}},
}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ((".*",), {"spatial/conv/kernel", "spatial/head/kernel", "spatial/head/bias", "temporal/head/kernel"}),
        (("temporal/.*",), {"temporal/head/kernel"}),
        ((r".*/head/kernel", r".*/bias"), {"spatial/head/kernel", "spatial/head/bias", "temporal/head/kernel"}),
        (("head/kernel",), set()),  # a pattern has to match the whole name
        ((), set()),
    ],
)
def test_patterns_part_the_parameters(patterns, expected):
    chosen, rest = split_params(PARAMS, patterns)
    assert set(chosen) == expected
    assert not chosen.keys() & rest.keys()
    assert len(chosen) + len(rest) == 4


def test_joining_the_parts_gives_the_whole():
    joined = join_params(*split_params(PARAMS, (".*/head/.*",)))
    assert jax.tree.structure(joined) == jax.tree.structure(PARAMS)
    jax.tree.map(np.testing.assert_array_equal, joined, PARAMS)


def test_matching_keeps_the_order_of_the_names():
    assert matching(["b/x", "a/x", "c/y"], [".*/x"]) == ["b/x", "a/x"]
