import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vreid_jax.errors import InputError
from vreid_jax.losses import batch_hard_triplet, batch_hard_triplet_from_distances

METRICS = ["euclidean", "sqeuclidean", "cosine"]


def reference(features, labels, margin, metric, reduction, valid=None):
    x, labels = np.asarray(features, np.float64), np.asarray(labels)
    valid = np.ones(len(x), bool) if valid is None else np.asarray(valid)
    losses = []
    for a in range(len(x)):
        if metric == "cosine":
            d = 1 - x @ x[a] / np.linalg.norm(x, axis=1) / np.linalg.norm(x[a])
        else:
            d = np.linalg.norm(x - x[a], axis=1) ** (2 if metric == "sqeuclidean" else 1)
        positives = [d[i] for i in range(len(x)) if i != a and labels[i] == labels[a] and valid[i] and valid[a]]
        negatives = [d[i] for i in range(len(x)) if labels[i] != labels[a] and valid[i] and valid[a]]
        if positives and negatives:
            losses.append(max(0.0, margin + max(positives) - min(negatives)))
    return (np.sum if reduction == "sum" else np.mean)(losses)


def example(seed=0, count=12, dimensions=6, identities=4):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, dimensions)).astype(np.float32)
    return jnp.asarray(features), jnp.asarray(np.arange(count) % identities, jnp.int32)


def test_four_points_on_a_line_worked_by_hand():
    # Anchors at 0 and 1 (label 0), 3 and 7 (label 1), margin 0.5: hardest positives 1, 1, 4, 4 and negatives 3, 2, 2, 6
    # leave 0, 0, 2.5 and 0.
    features = jnp.array([[0.0], [1.0], [3.0], [7.0]])
    labels = jnp.array([0, 0, 1, 1])
    np.testing.assert_allclose(batch_hard_triplet(features, labels, margin=0.5), 2.5 / 4, rtol=1e-6)
    np.testing.assert_allclose(batch_hard_triplet(features, labels, margin=0.5, reduction="sum"), 2.5, rtol=1e-6)
    # Squared: 1, 1, 16, 16 against 9, 4, 4, 36 leave only 16 - 4 + 0.5.
    squared = batch_hard_triplet(features, labels, margin=0.5, distance="sqeuclidean", reduction="sum")
    np.testing.assert_allclose(squared, 12.5, rtol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_equals_float64_numpy(metric, reduction):
    features, labels = example()
    loss = batch_hard_triplet(features, labels, 0.3, metric, reduction)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, reference(features, labels, 0.3, metric, reduction), rtol=2e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_jit_equals_eager_and_gradients_are_right(metric):
    features, labels = example()

    def loss(x):
        return batch_hard_triplet(x, labels, 0.3, metric)

    np.testing.assert_allclose(jax.jit(loss)(features), loss(features), rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(features), jax.grad(loss)(features), rtol=1e-5, atol=1e-6)
    check_grads(jax.jit(loss), (features,), order=1, modes=["rev"], rtol=2e-2, atol=2e-2, eps=1e-3)


def test_order_of_the_batch_does_not_matter():
    features, labels = example()
    order = np.random.default_rng(1).permutation(len(labels))
    np.testing.assert_allclose(
        batch_hard_triplet(features[order], labels[order]), batch_hard_triplet(features, labels), rtol=1e-6
    )


def test_anchors_without_a_positive_are_candidates_but_not_anchors():
    features = jnp.array([[0.0], [1.0], [1.5]])
    # The lone third point is the nearest negative (0.5) of the second and (1.5) of the first.
    loss = batch_hard_triplet(features, jnp.array([0, 0, 1]), margin=1.0)
    np.testing.assert_allclose(loss, (0.5 + 1.5) / 2, rtol=1e-6)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_no_triplet_gives_zero_and_zero_gradients(labels):
    features = jnp.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    loss, gradient = jax.jit(jax.value_and_grad(batch_hard_triplet))(features, jnp.array(labels))
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)


def test_masked_rows_equal_leaving_them_out():
    features, labels = example()
    valid = jnp.arange(12) % 5 != 0
    rows = np.flatnonzero(valid)
    loss = batch_hard_triplet(features.at[0].set(1e6), labels, valid=valid)
    np.testing.assert_allclose(loss, batch_hard_triplet(features[rows], labels[rows]), rtol=1e-6)
    np.testing.assert_allclose(loss, reference(features, labels, 0.3, "euclidean", "mean", valid), rtol=2e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [0.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_gradients_are_finite_where_all_features_coincide(metric, value):
    features = jnp.full((6, 4), value)
    value_and_grad = jax.jit(jax.value_and_grad(batch_hard_triplet), static_argnums=(2, 3))
    loss, gradient = value_and_grad(features, jnp.array([0, 0, 1, 1, 2, 2]), 0.3, metric)
    np.testing.assert_allclose(loss, 0.3, rtol=1e-5)
    assert np.all(np.isfinite(gradient))


def test_small_differences_far_from_the_origin_do_not_cancel():
    # |a|² + |b|² - 2ab in float32 would lose this distance of 0.25 altogether.
    features = jnp.array([[4096.0], [4096.25], [4097.0], [4097.25]])
    loss = batch_hard_triplet(features, jnp.array([0, 0, 1, 1]), margin=1.0)
    np.testing.assert_allclose(loss, (0.25 + 0.5 + 0.5 + 0.25) / 4, rtol=1e-5)


def test_a_repeated_tracklet_counts_as_a_positive_at_distance_zero():
    features = jnp.array([[1.0, 2.0], [1.0, 2.0], [4.0, 6.0]])
    loss = batch_hard_triplet(features, jnp.array([3, 3, 8]), margin=6.0)
    np.testing.assert_allclose(loss, 1.0, rtol=1e-5)


def test_any_distance_matrix_with_the_row_as_anchor():
    distances = jnp.array([[9.0, 1.0, 0.5], [2.0, 9.0, 4.0], [3.0, 3.0, 9.0]])
    loss = batch_hard_triplet_from_distances(distances, jnp.array([0, 0, 1]), margin=1.0, reduction="sum")
    np.testing.assert_allclose(loss, 1.5)


def test_unknown_names_are_input_errors():
    with pytest.raises(InputError, match="distance must be one of"):
        batch_hard_triplet(*example(), distance="manhattan")
    with pytest.raises(InputError, match="reduction must be one of"):
        batch_hard_triplet(*example(), reduction="none")
