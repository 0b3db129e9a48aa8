"""The supervised contrastive loss against float64 NumPy written from the paper's equation, and at its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vreid_jax.errors import InputError
from vreid_jax.losses import TERMS, contrastive_of_pairs, supervised_contrastive


def reference(features, labels, temperature, valid=None):
    rows = [i for i in range(len(labels)) if valid is None or valid[i]]
    z = np.asarray(features, np.float64)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    losses = []
    for i in rows:
        positives = [p for p in rows if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        denominator = sum(np.exp(z[i] @ z[a] / temperature) for a in rows if a != i)
        losses.append(-np.mean([np.log(np.exp(z[i] @ z[p] / temperature) / denominator) for p in positives]))
    return np.mean(losses)


def example(seed=0, count=12, identities=5):
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % identities
    return jnp.asarray(generator.normal(size=(count, 6)) * generator.uniform(0.1, 9, (count, 1)), jnp.float32), labels


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_equals_float64_numpy(temperature):
    features, labels = example()
    loss = supervised_contrastive(features, labels, temperature)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, reference(features, labels, temperature), rtol=1e-5)


def test_two_pairs_at_right_angles_worked_by_hand():
    # Every anchor has its positive at cosine 1 and two negatives at 0: log(e^2 + 2) - 2 for τ = 0.5.
    features = jnp.array([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0], [0.0, 3.0]])
    loss = supervised_contrastive(features, jnp.array([0, 0, 1, 1]), temperature=0.5)
    np.testing.assert_allclose(loss, 0.23954, atol=1e-5)


def test_jit_equals_eager_and_gradients_are_right():
    features, labels = example()
    np.testing.assert_allclose(
        jax.jit(supervised_contrastive)(features, labels), supervised_contrastive(features, labels), rtol=1e-6
    )
    check_grads(
        jax.jit(lambda x: supervised_contrastive(x, labels, 0.5)),
        (features,),
        order=1,
        modes=["rev"],
        rtol=2e-2,
        atol=2e-2,
    )


def test_masked_rows_equal_leaving_them_out():
    features, labels = example()
    valid = np.arange(12) % 4 != 0
    loss = supervised_contrastive(features.at[0].set(1e6), labels, valid=valid)
    np.testing.assert_allclose(loss, reference(features, labels, 0.1, valid), rtol=1e-5)


def test_tracklets_without_an_identity_are_neither_anchors_nor_candidates():
    features, labels = example()
    unlabelled = np.where(np.arange(12) % 4 == 0, -1, labels)
    term = TERMS["contrastive"]()
    loss = term({"feature": features}, {"label": jnp.asarray(unlabelled)}, None, None)
    np.testing.assert_allclose(loss, reference(features, labels, 0.1, unlabelled >= 0), rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 1, 2, 3], [0, 0, 0, 0], [0, 0, 1, 2]])
def test_gradients_are_finite_where_all_features_coincide_or_nobody_has_a_pair(value, labels):
    features = jnp.full((4, 3), value)
    loss, gradient = jax.jit(jax.value_and_grad(supervised_contrastive))(features, jnp.array(labels))
    expected = np.log(3) if len(set(labels)) < 4 else 0.0  # three candidates alike
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_a_temperature_of_zero_is_an_error():
    with pytest.raises(InputError, match="temperature must be above 0, not 0"):
        supervised_contrastive(*example(), temperature=0)


def reference_of_pairs(features, positive, negative, temperature):
    z = np.asarray(features, np.float64)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    losses = []
    for i in range(len(z)):
        if positive[i].any():
            exponentials = np.exp(z[i] @ z.T / temperature)
            denominator = exponentials[positive[i] | negative[i]].sum()
            losses.append(-np.log(exponentials[positive[i]] / denominator).mean())
    return np.mean(losses)


def test_pairs_that_are_not_known_have_no_part_in_the_loss():
    features, labels = example(seed=3)
    same = labels[:, None] == labels[None]
    known = np.random.default_rng(4).random(same.shape) < 0.5
    known |= known.T
    positive, negative = same & known & ~np.eye(len(labels), dtype=bool), ~same & known
    found = contrastive_of_pairs(features, positive, negative, 0.2)
    np.testing.assert_allclose(found, reference_of_pairs(features, positive, negative, 0.2), rtol=1e-5)
    gradient = jax.grad(lambda x: contrastive_of_pairs(x, positive, negative, 0.2))(features)
    assert np.isfinite(gradient).all()


def test_with_all_pairs_known_it_is_the_loss_of_the_labels():
    features, labels = example(seed=5)
    same = labels[:, None] == labels[None]
    found = contrastive_of_pairs(features, same & ~np.eye(len(labels), dtype=bool), ~same)
    np.testing.assert_allclose(found, supervised_contrastive(features, labels), rtol=1e-6)


def test_a_row_whose_only_pairs_are_negative_is_not_an_anchor_and_no_pair_gives_zero():
    features, _ = example()
    nothing = np.zeros((12, 12), bool)
    assert contrastive_of_pairs(features, nothing, ~np.eye(12, dtype=bool)) == 0
    assert np.isfinite(jax.grad(lambda x: contrastive_of_pairs(x, nothing, nothing))(features)).all()
