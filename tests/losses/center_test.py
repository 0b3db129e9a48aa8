"""The centre loss and its centres against steps by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.losses import TERMS, CenterMemory, center

BATCHES = (
    np.array([0, 2, 2, -1, 1, 2], np.int32),
    np.array([-1, -1, 3, 0, 0, -1], np.int32),
    np.array([-1] * 6, np.int32),
)


def loss_by_hand(features, labels, centers, reduction):
    terms = [0.5 * ((x - centers[y]) ** 2).sum() for x, y in zip(features, labels, strict=True) if y >= 0]
    return sum(terms) if reduction == "sum" or not terms else np.mean(terms)


def moved_by_hand(features, labels, centers, rate):
    """Equation 4 of Wen et al., a centre at a time."""
    moved = centers.copy()
    for j in range(len(centers)):
        own = [x for x, y in zip(features, labels, strict=True) if y == j]
        moved[j] -= rate * sum((centers[j] - x for x in own), np.zeros(centers.shape[1])) / (1 + len(own))
    return moved


@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
def test_loss_and_centres_follow_the_steps_by_hand(jit):
    expected, memory = np.zeros((5, 4)), CenterMemory.empty(5, 4, rate=0.7)
    after = jax.jit(lambda m, f, l: m.after(f, l)) if jit else lambda m, f, l: m.after(f, l)
    for number, labels in enumerate(BATCHES):
        features = np.random.default_rng(number).normal(size=(6, 4)) * 3
        for reduction in ("mean", "sum"):
            found = center(features.astype(np.float32), labels, memory.centers, reduction)
            np.testing.assert_allclose(found, loss_by_hand(features, labels, expected, reduction), rtol=1e-5)
        memory = after(memory, jnp.asarray(features, jnp.float32), labels)
        expected = moved_by_hand(features, labels, expected, 0.7)
        np.testing.assert_allclose(memory.centers, expected, atol=1e-6)


def test_one_centre_worked_by_hand():
    # Two features 2 and 4 draw a centre at 1 by 0.5 · (1 + 3) / 3; their losses are 0.5 · 1 and 0.5 · 9.
    memory = CenterMemory(jnp.array([[1.0]]), 0.5)
    features, labels = jnp.array([[2.0], [4.0]]), jnp.array([0, 0])
    np.testing.assert_allclose(memory.after(features, labels).centers, [[5 / 3]], rtol=1e-6)
    assert float(center(features, labels, memory.centers, "sum")) == 5.0


def test_the_gradient_draws_features_to_their_centres_and_leaves_the_centres():
    generator = np.random.default_rng(0)
    features, centers = (jnp.asarray(generator.normal(size=(3, 4)), jnp.float32) for _ in range(2))
    labels = jnp.array([2, -1, 0])
    of_features, of_centers = jax.jit(jax.grad(center, argnums=(0, 2)))(features, labels, centers)
    np.testing.assert_allclose(of_features[0], (features[0] - centers[2]) / 2, rtol=1e-5)
    np.testing.assert_array_equal(of_features[1], 0)
    np.testing.assert_array_equal(of_centers, 0)
    assert not jax.jit(jax.grad(center))(centers[:1], jnp.array([0]), centers).any()


def test_edges():
    features, centers = np.ones((2, 4), np.float32), np.zeros((3, 4), np.float32)
    assert float(center(features, np.array([-1, -1], np.int32), centers)) == 0.0
    assert np.isnan(center(features, np.array([0, 3], np.int32), centers))
    with pytest.raises(InputError, match="reduction must be one of"):
        center(features, np.array([0, 1], np.int32), centers, "none")
    with pytest.raises(InputError, match=r"rate must be from 0 to 1, not 1\.5"):
        CenterMemory.empty(3, 4, rate=1.5)


def test_the_term_starts_with_centres_at_the_origin_and_a_rate_of_its_own():
    term = TERMS["center"](weight=5e-4, rate=0.25)
    memory = term.new_memory(4, 3, unlabelled=True)
    np.testing.assert_array_equal(memory.centers, np.zeros((3, 4)))
    assert memory.rate == 0.25
    loss = term({"feature": jnp.ones((2, 4))}, {"label": jnp.array([0, -1])}, memory, None)
    assert float(loss) == 2.0
