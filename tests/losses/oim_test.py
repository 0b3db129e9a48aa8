"""Online instance matching against a table kept by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.losses import OIMMemory, oim


def unit_rows(*shape, seed=0):
    x = np.random.default_rng(seed).standard_normal(shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


class ByHand:
    """The table and the queue, one row at a time, float64."""

    def __init__(self, identities, size, queue, momentum=0.5):
        self.table, self.queue = np.zeros((identities, size)), np.zeros((queue, size))
        self.pointer, self.momentum = 0, momentum

    def loss(self, features, labels, temperature=0.1):
        terms = []
        for v, label in zip(features, labels, strict=True):
            if label >= 0:
                logits = np.concatenate([self.table @ v, self.queue @ v]) / temperature
                terms.append(np.log(np.exp(logits).sum()) - logits[label])
        return np.mean(terms) if terms else 0.0

    def add(self, features, labels):
        for v, label in zip(features, labels, strict=True):
            if label >= 0:
                mixed = self.momentum * self.table[label] + (1 - self.momentum) * v
                self.table[label] = mixed / np.linalg.norm(mixed)
            elif len(self.queue):
                self.queue[self.pointer] = v
                self.pointer = (self.pointer + 1) % len(self.queue)


BATCHES = (
    np.array([0, 2, 2, -1, 1, 2], np.int32),
    np.array([-1, -1, 3, 0, 0, -1], np.int32),
    np.array([2, -1, -1, 2, 4, 1], np.int32),
    np.array([-1] * 6, np.int32),
)


@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
@pytest.mark.parametrize("queue", [5, 0])
def test_loss_and_memory_follow_the_steps_by_hand(queue, jit):
    expected = ByHand(5, 4, queue, momentum=0.3)
    memory = OIMMemory.empty(5, 4, queue, momentum=0.3)
    after = jax.jit(lambda m, f, l: m.after(f, l)) if jit else lambda m, f, l: m.after(f, l)
    for number, labels in enumerate(BATCHES):
        features = unit_rows(6, 4, seed=number)
        found = oim(features.astype(np.float32), labels, memory.table, memory.queue)
        np.testing.assert_allclose(found, expected.loss(features, labels), rtol=1e-5)
        memory = after(memory, jnp.asarray(features, jnp.float32), labels)
        expected.add(features, labels)
        np.testing.assert_allclose(memory.table, expected.table, atol=1e-6)
        if queue:
            np.testing.assert_allclose(memory.queue, expected.queue, atol=1e-6)
        else:
            assert memory.queue is None
        assert int(memory.pointer) == expected.pointer


def test_gradient_is_that_of_the_softmax_and_reaches_features_alone():
    table, queue = unit_rows(3, 4).astype(np.float32), unit_rows(2, 4, seed=1).astype(np.float32)
    features, labels = unit_rows(2, 4, seed=2).astype(np.float32), np.array([1, -1], np.int32)
    gradients = jax.jit(jax.grad(oim, argnums=(0, 2, 3)))(features, labels, table, queue)
    others = np.concatenate([table, queue]).astype(np.float64)
    p = np.exp(others @ features[0] / 0.1)
    p /= p.sum()
    np.testing.assert_allclose(gradients[0][0], ((p[:, None] * others).sum(0) - table[1]) / 0.1, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(gradients[0][1], 0)
    assert not gradients[1].any()
    assert not gradients[2].any()


def test_subsampling_keeps_the_own_identity_and_draws_that_many():
    table, queue = unit_rows(50, 4).astype(np.float32), unit_rows(30, 4, seed=1).astype(np.float32)
    features, labels = unit_rows(3, 4, seed=2), np.array([7, 0, 49], np.int32)
    key = jax.random.key(3)
    found = float(oim(features.astype(np.float32), labels, table, queue, subsample=10, key=key))
    rows = np.asarray(jax.random.choice(key, 50, (10,), replace=False))
    places = np.asarray(jax.random.choice(jax.random.fold_in(key, 1), 30, (10,), replace=False))
    terms = []
    for v, label in zip(features, labels, strict=True):
        kept = np.concatenate([table[sorted({label, *rows})], queue[places]]).astype(np.float64)
        terms.append(np.log(np.exp(kept @ v / 0.1).sum()) - table[label] @ v / 0.1)
    np.testing.assert_allclose(found, np.mean(terms), rtol=1e-5)
    everything = oim(features.astype(np.float32), labels, table, queue, subsample=50, key=key)
    np.testing.assert_allclose(everything, oim(features.astype(np.float32), labels, table, queue), rtol=1e-6)
    assert found < float(everything)


def test_edges():
    table, queue = unit_rows(3, 4).astype(np.float32), None
    features = unit_rows(2, 4, seed=2).astype(np.float32)
    assert float(oim(features, np.array([-1, -1], np.int32), table, queue)) == 0.0
    assert np.isnan(oim(features, np.array([0, 3], np.int32), table, queue))
    with pytest.raises(InputError, match="subsample needs a key"):
        oim(features, np.array([0, 1], np.int32), table, queue, subsample=2)
    with pytest.raises(InputError, match="temperature must be above 0"):
        oim(features, np.array([0, 1], np.int32), table, queue, temperature=0)
    with pytest.raises(InputError, match=r"momentum must be in \[0, 1\)"):
        OIMMemory.empty(3, 4, momentum=1.0)
