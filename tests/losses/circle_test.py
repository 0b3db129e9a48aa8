"""The circle loss against float64 NumPy written from the paper's equations, and at its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.losses import TERMS, circle


def reference(features, labels, margin, scale, valid=None, weights_of=None):
    """Equation 6, an anchor at a time; the weights α are those of `weights_of`, by default of the features."""
    rows = [i for i in range(len(labels)) if valid is None or valid[i]]

    def unit(x):
        x = np.asarray(x, np.float64)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    z, fixed = unit(features), unit(features if weights_of is None else weights_of)
    losses = []
    for i in rows:
        positives = [p for p in rows if p != i and labels[p] == labels[i]]
        negatives = [n for n in rows if labels[n] != labels[i]]
        if not positives or not negatives:
            continue
        alpha_p = [max(0.0, 1 + margin - fixed[i] @ fixed[p]) for p in positives]
        alpha_n = [max(0.0, fixed[i] @ fixed[n] + margin) for n in negatives]
        of_p = sum(np.exp(-scale * a * (z[i] @ z[p] - (1 - margin))) for a, p in zip(alpha_p, positives, strict=True))
        of_n = sum(np.exp(scale * a * (z[i] @ z[n] - margin)) for a, n in zip(alpha_n, negatives, strict=True))
        losses.append(np.log(1 + of_n * of_p))
    return np.mean(losses)


def example(seed=0, count=12, identities=5):
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % identities
    return jnp.asarray(generator.normal(size=(count, 6)) * generator.uniform(0.1, 9, (count, 1)), jnp.float32), labels


@pytest.mark.parametrize(("margin", "scale"), [(0.25, 80), (0.25, 64), (0.4, 8)])
def test_equals_float64_numpy(margin, scale):
    features, labels = example()
    loss = circle(features, labels, margin, scale)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, reference(features, labels, margin, scale), rtol=2e-5)


def test_two_pairs_at_right_angles_worked_by_hand():
    # s_p = 1 and s_n = 0 twice: α are 0.25, the exponents 8 · 0.25 · -0.25 = -0.5: log(1 + 2 e^-0.5 e^-0.5).
    features = jnp.array([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0], [0.0, 3.0]])
    np.testing.assert_allclose(circle(features, jnp.array([0, 0, 1, 1]), scale=8), 0.55144, atol=1e-5)


def test_jit_equals_eager():
    features, labels = example()
    np.testing.assert_allclose(jax.jit(circle)(features, labels), circle(features, labels), rtol=1e-6)


def test_the_gradient_is_that_of_fixed_weights():
    features, labels = example(count=6, identities=2)
    gradient = jax.jit(jax.grad(circle), static_argnums=(2, 3))(features, labels, 0.25, 8)
    x = np.asarray(features, np.float64)
    for place in [(0, 0), (2, 3), (5, 5)]:
        up, down = x.copy(), x.copy()
        up[place] += 1e-5
        down[place] -= 1e-5
        slope = (reference(up, labels, 0.25, 8, None, x) - reference(down, labels, 0.25, 8, None, x)) / 2e-5
        np.testing.assert_allclose(gradient[place], slope, rtol=1e-3, atol=1e-5)


def test_masked_rows_equal_leaving_them_out():
    features, labels = example()
    valid = np.arange(12) % 4 != 0
    loss = circle(features.at[0].set(1e6), labels, valid=valid)
    np.testing.assert_allclose(loss, reference(features, labels, 0.25, 80, valid), rtol=2e-5)


def test_tracklets_without_an_identity_are_neither_anchors_nor_candidates():
    features, labels = example()
    unlabelled = np.where(np.arange(12) % 4 == 0, -1, labels)
    loss = TERMS["circle"](scale=64.0)({"feature": features}, {"label": jnp.asarray(unlabelled)}, None, None)
    np.testing.assert_allclose(loss, reference(features, labels, 0.25, 64, unlabelled >= 0), rtol=2e-5)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_an_anchor_needs_a_positive_and_a_negative(labels):
    features = jnp.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    loss, gradient = jax.jit(jax.value_and_grad(circle))(features, jnp.array(labels))
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradients_are_finite_where_all_features_coincide(value):
    features = jnp.full((6, 4), value)
    loss, gradient = jax.jit(jax.value_and_grad(circle))(features, jnp.array([0, 0, 1, 1, 2, 2]))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("fields", [{"margin": 1.0}, {"margin": -0.1}, {"scale": 0}])
def test_fields_out_of_range_are_errors(fields):
    with pytest.raises(InputError, match="margin must be at least 0 and below 1, and scale above 0"):
        circle(*example(), **fields)
