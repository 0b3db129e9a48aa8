"""Part maps and part descriptors against their sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.models.layers.part_alignment import PartDescriptors, PartMaps, overlaps


def cubic(shape=(2, 2, 4, 3, 6), seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def test_overlaps_of_a_map_that_regions_do_not_divide():
    np.testing.assert_allclose(overlaps(4, 5).sum(1), 1, rtol=1e-6)
    # Of four rows the second is [5/20, 10/20]: 3/20 in the second fifth, 2/20 in the third.
    np.testing.assert_allclose(overlaps(4, 5)[1], [0, 0.6, 0.4, 0, 0], atol=1e-6)
    np.testing.assert_allclose(overlaps(2, 5)[0], [0.4, 0.4, 0.2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(overlaps(10, 5)[3], [0, 1, 0, 0, 0], atol=1e-6)


def test_learned_maps_are_a_point_convolution_and_a_sigmoid():
    module, x = PartMaps("learned", 3), cubic()
    variables = module.init(jax.random.key(0), x)
    detector = variables["params"]["detector"]
    found = module.apply(variables, x)
    expected = 1 / (
        1 + np.exp(-(np.asarray(x, np.float64) @ detector["kernel"] + detector["bias"].reshape(1, 1, 1, 1, -1)))
    )
    assert found.shape == (2, 2, 4, 3, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_fixed_regions():
    x = cubic((2, 2, 10, 5, 6))
    stripes = PartMaps("stripes").apply({}, x)
    assert stripes.shape == (2, 2, 10, 5, 5)
    np.testing.assert_array_equal(stripes[1, 0, 3], np.tile([0, 1, 0, 0, 0], (5, 1)))
    grid = np.asarray(PartMaps("grid").apply({}, x))
    assert grid.shape == (2, 2, 10, 5, 25)
    assert grid[0, 1, 9, 2].argmax() == 4 * 5 + 2
    np.testing.assert_allclose(grid.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(PartMaps("global").apply({}, x), 1)
    with pytest.raises(InputError, match="parts is 'limbs', expected one of learned"):
        PartMaps("limbs").apply({}, x)


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_each_part_has_layers_of_its_own(pooling):
    module, x = PartDescriptors(hidden=5, features=4, pooling=pooling), cubic()
    maps = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 2, 4, 3, 3)), jnp.float32)
    variables = module.init(jax.random.key(0), x, maps)
    variables = jax.tree.map(lambda p: p + 0.1, variables)  # biases that are not zero
    found, weights = module.apply(variables, x, maps)
    assert weights is None
    assert found.shape == (2, 3, 1, 4)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    for b in range(2):
        for part in range(3):
            weighted = np.asarray(x[b], np.float64) * np.asarray(maps[b, ..., part : part + 1], np.float64)
            pooled = weighted.mean((0, 1, 2)) if pooling == "average" else weighted.max((0, 1, 2))
            hidden = np.maximum(pooled @ p["kernel1"][part] + p["bias1"][part], 0)
            expected = np.maximum(hidden @ p["kernel2"][part] + p["bias2"][part], 0)
            np.testing.assert_allclose(found[b, part, 0], expected, rtol=1e-3, atol=1e-5)


def test_locations_bring_their_maps_as_weights():
    module, x = PartDescriptors(features=4, descriptors="locations"), cubic()
    maps = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 2, 4, 3, 3)), jnp.float32)
    variables = module.init(jax.random.key(0), x, maps)
    found, weights = module.apply(variables, x, maps)
    assert found.shape == (2, 3, 24, 4)
    position = (1, 2, 0)
    number = np.ravel_multi_index(position, (2, 4, 3))
    kernel = np.asarray(variables["params"]["projection"][2], np.float64)
    np.testing.assert_allclose(found[1, 2, number], np.asarray(x[(1, *position)]) @ kernel, rtol=1e-4, atol=1e-5)
    assert float(weights[1, 2, number]) == float(maps[(1, *position, 2)])


def test_a_cubic_is_taken_as_it_is():
    module, x = PartDescriptors(descriptors="cubic"), cubic()
    maps = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 2, 4, 3, 3)), jnp.float32)
    found, weights = module.apply({}, x, maps)
    np.testing.assert_array_equal(found, np.asarray(x).reshape(2, 1, 24, 6))
    np.testing.assert_array_equal(weights, np.asarray(maps).reshape(2, 24, 3).transpose(0, 2, 1))


def test_what_does_not_exist_is_named():
    x, maps = cubic(), jnp.ones((2, 2, 4, 3, 3))
    with pytest.raises(InputError, match="descriptors is 'pixels'"):
        PartDescriptors(descriptors="pixels").init(jax.random.key(0), x, maps)
    with pytest.raises(InputError, match="pooling is 'median'"):
        PartDescriptors(pooling="median").init(jax.random.key(0), x, maps)
