"""The VLAD layer against its equations in float64, and k-means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.models.layers.kmeans import cell_statistics, kmeans
from vreid_jax.models.layers.vlad import VLAD, normalised, vlad_parameters, vlad_sums


def unit_vectors(*shape, seed=0):
    x = np.abs(np.random.default_rng(seed).standard_normal(shape))
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def equation_3(descriptors, centres):
    """Hard assignment, descriptor by descriptor, float64."""
    sums = np.zeros((len(descriptors), *centres.shape))
    for b, group in enumerate(descriptors.astype(np.float64)):
        for f in group:
            k = np.square(f[None] - centres).sum(1).argmin()
            sums[b, k] += f - centres[k]
    return sums


def equation_4(descriptors, centres, alpha, weights=None):
    """Soft assignment, float64."""
    centres = centres.astype(np.float64)
    sums = np.zeros((len(descriptors), *centres.shape))
    for b, group in enumerate(descriptors.astype(np.float64)):
        for n, f in enumerate(group):
            logits = -alpha * np.square(f[None] - centres).sum(1)
            share = np.exp(logits - logits.max())
            share /= share.sum()
            count = 1.0 if weights is None else weights[b, n]
            sums[b] += count * share[:, None] * (f[None] - centres)
    return sums


def both_normalisations(sums):
    lengths = np.linalg.norm(sums, axis=2, keepdims=True)
    rows = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0).reshape(len(sums), -1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
@pytest.mark.parametrize("alpha", [1.0, 10.0, 100.0, 1000.0])
def test_soft_assignment_is_equation_4(alpha, jit):
    descriptors, centres = unit_vectors(3, 20, 8), unit_vectors(5, 8, seed=1)
    sums = jax.jit(vlad_sums) if jit else vlad_sums
    found = sums(descriptors, **vlad_parameters(centres, alpha))
    expected = equation_4(descriptors, centres, alpha)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    # A length of 1 for each cluster lays the smallest shares open, and these are exponentials of logits of 2α.
    enough = np.abs(expected).max((0, 2)) > 1e-3
    lengths = np.linalg.norm(expected, axis=2, keepdims=True)
    own = np.asarray(found) / np.linalg.norm(np.asarray(found), axis=2, keepdims=True).clip(1e-30)
    np.testing.assert_allclose(own[:, enough], (expected / lengths.clip(1e-300))[:, enough], atol=2e-3)


def test_hard_assignment_is_equation_3_and_the_limit_of_soft():
    descriptors, centres = unit_vectors(3, 20, 8), unit_vectors(5, 8, seed=1)
    expected = equation_3(descriptors, centres)
    found = vlad_sums(descriptors, **vlad_parameters(centres, 1.0), hard=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    soft = vlad_sums(descriptors, **vlad_parameters(centres, 1e5))
    np.testing.assert_allclose(soft, expected, atol=1e-3)
    np.testing.assert_allclose(normalised(found), both_normalisations(expected), atol=1e-5)


def test_weights_count_a_descriptor_so_often():
    descriptors, centres = unit_vectors(2, 4, 8), unit_vectors(3, 8, seed=1)
    weights = np.array([[1, 2, 0, 0.5], [3, 0, 0, 1]], np.float32)
    found = vlad_sums(descriptors, **vlad_parameters(centres, 10.0), weights=weights)
    np.testing.assert_allclose(found, equation_4(descriptors, centres, 10.0, weights), atol=1e-5)


def test_empty_clusters_are_zero_and_one_descriptor_is_its_own_direction():
    centres = np.eye(3, dtype=np.float32)
    descriptor = np.array([[[0.8, 0.6, 0.0]]], np.float32)
    found = np.asarray(normalised(vlad_sums(descriptor, **vlad_parameters(centres, 1000.0)))).reshape(3, 3)
    residual = np.array([-0.2, 0.6, 0.0])
    np.testing.assert_allclose(found[0], residual / np.linalg.norm(residual), atol=1e-4)
    np.testing.assert_array_equal(found[1:], 0)
    nothing = normalised(jnp.zeros((2, 3, 4)))
    np.testing.assert_array_equal(nothing, 0)


@pytest.mark.parametrize("alpha", [1.0, 30.0, 1000.0])
@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
def test_gradients_are_finite_everywhere(alpha, hard):
    centres = unit_vectors(6, 8, seed=1)
    descriptors = np.stack([unit_vectors(4, 8), np.zeros((4, 8), np.float32), np.repeat(centres[:1], 4, 0)])

    def loss(descriptors, parameters):
        weights = jnp.arange(48.0)[None]
        return (normalised(vlad_sums(descriptors, **parameters, hard=hard)) * weights).sum()

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(jnp.asarray(descriptors), vlad_parameters(centres, alpha))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert np.abs(gradients[0][0]).max() > 0
    assert np.abs(gradients[1]["centres"]).max() > 0
    if alpha < 100 and not hard:
        assert np.abs(gradients[1]["kernel"]).max() > 0


def test_gradient_of_descriptors_by_differences():
    descriptors, parameters = unit_vectors(1, 5, 4), vlad_parameters(unit_vectors(3, 4, seed=1), 5.0)
    direction = np.random.default_rng(2).standard_normal(descriptors.shape).astype(np.float32)
    readout = np.random.default_rng(3).standard_normal((1, 12))

    def value(step):
        moved = equation_4(descriptors + step * direction.astype(np.float64), np.asarray(parameters["centres"]), 5.0)
        return (both_normalisations(moved) * readout).sum()

    def loss(x):
        return (normalised(vlad_sums(x, **parameters)) * readout.astype(np.float32)).sum()

    # Off the unit sphere the two forms of the assignment still agree: |f|² is common to all clusters.
    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    np.testing.assert_allclose((jax.jit(jax.grad(loss))(jnp.asarray(descriptors)) * direction).sum(), slope, rtol=1e-3)


def test_the_layer_starts_with_assignment_and_residuals_to_the_same_centres():
    layer = VLAD(num_clusters=3, alpha=20.0)
    descriptors = jnp.asarray(unit_vectors(2, 5, 4))
    variables = layer.init(jax.random.key(0), descriptors)
    parameters = variables["params"]
    np.testing.assert_allclose(np.linalg.norm(parameters["centres"], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(parameters["kernel"], 40 * parameters["centres"].T)
    np.testing.assert_allclose(parameters["bias"], -20 * np.ones(3), rtol=1e-5)
    expected = equation_4(np.asarray(descriptors), np.asarray(parameters["centres"]), 20.0)
    np.testing.assert_allclose(layer.apply(variables, descriptors), expected, atol=1e-4)
    moved = {"params": {**parameters, "centres": parameters["centres"] + 1}}
    shares = np.asarray(layer.apply(variables, descriptors) - layer.apply(moved, descriptors))
    np.testing.assert_allclose(shares.sum(1), np.full((2, 4), 5.0), rtol=1e-4)  # the assignment did not move
    with pytest.raises(InputError, match="assignment is 'firm', expected soft or hard"):
        VLAD(assignment="firm").init(jax.random.key(0), descriptors)


def test_no_array_of_residuals_is_made():
    shapes = jax.make_jaxpr(vlad_sums)(unit_vectors(7, 11, 13), **vlad_parameters(unit_vectors(5, 13), 1000.0))
    assert max(int(np.prod(v.aval.shape)) for e in shapes.eqns for v in e.outvars) < 7 * 11 * 13 * 5


def test_kmeans_finds_separate_groups_and_repeats():
    rng = np.random.default_rng(0)
    truth = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32)
    points = (truth[rng.integers(4, size=200)] + 0.1 * rng.standard_normal((200, 2))).astype(np.float32)
    centres = kmeans(points, 4)
    np.testing.assert_array_equal(centres, kmeans(points, 4))
    nearest = np.square(points[:, None] - centres[None]).sum(2).argmin(1)
    for k in range(4):
        np.testing.assert_allclose(centres[k], points[nearest == k].mean(0), rtol=1e-5)  # a fixed point of Lloyd
    assert np.square(centres[:, None] - truth[None]).sum(2).min(0).max() < 0.01


def test_kmeans_of_few_distinct_points_and_of_too_few():
    points = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    centres = kmeans(points, 5)
    assert {tuple(row) for row in centres} == {tuple(row) for row in np.eye(3)}
    with pytest.raises(InputError, match="at least 13 descriptors for as many centres, got 12"):
        kmeans(points, 13)


def test_what_cells_hold_counted_pair_by_pair():
    rng = np.random.default_rng(0)
    descriptors, people = rng.standard_normal((7, 5, 3)), np.array([4, 4, 2, 2, 2, 9, -1])
    centres = np.concatenate([rng.standard_normal((4, 3)), np.full((1, 3), 99.0)])  # the last is nobody's
    cells = np.square(descriptors[:, :, None] - centres).sum(-1).argmin(-1)
    together = {True: [], False: []}
    for a in range(7):
        for b in range(a):
            if min(people[a], people[b]) >= 0:
                together[bool(people[a] == people[b])] += [int(x == y) for x in cells[a] for y in cells[b]]
    found = cell_statistics(descriptors, people, centres)
    assert found["cells_used"] == len(np.unique(cells)) / 5
    np.testing.assert_allclose(found["descriptors_per_cell"], 35 / sum(len(np.unique(row)) for row in cells))
    np.testing.assert_allclose(found["same_person_same_cell"], np.mean(together[True]))
    np.testing.assert_allclose(found["others_same_cell"], np.mean(together[False]))
    nobody = cell_statistics(descriptors[:1], people[-1:], centres)
    assert np.isnan(nobody["same_person_same_cell"])
    assert np.isnan(nobody["others_same_cell"])
