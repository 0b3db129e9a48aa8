import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vreid_jax.errors import InputError
from vreid_jax.losses import softmax_cross_entropy


def reference(logits, labels, smoothing):
    logits = np.asarray(logits, np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    target = (1 - smoothing) * np.eye(logits.shape[1])[labels] + smoothing / logits.shape[1]
    return -(target * log_probabilities).sum(1).mean()


def example(batch=7, classes=5):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(batch, classes)).astype(np.float32) * 3
    return jnp.asarray(logits), jnp.asarray(generator.integers(0, classes, batch), jnp.int32)


def test_equal_logits_cost_the_logarithm_of_the_number_of_classes():
    loss = softmax_cross_entropy(jnp.zeros((3, 8)), jnp.array([0, 3, 7]), smoothing=0.1)
    np.testing.assert_allclose(loss, np.log(8), rtol=1e-6)


def test_two_classes_worked_by_hand():
    # logits (ln 3, 0): probabilities 3/4 and 1/4; smoothing 0.2 puts 0.9 on the label and 0.1 on the other.
    logits = jnp.log(jnp.array([[3.0, 1.0]]))
    np.testing.assert_allclose(softmax_cross_entropy(logits, jnp.array([0])), np.log(4 / 3), rtol=1e-6)
    expected = 0.9 * np.log(4 / 3) + 0.1 * np.log(4)
    np.testing.assert_allclose(softmax_cross_entropy(logits, jnp.array([0]), smoothing=0.2), expected, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_equals_float64_numpy(smoothing):
    logits, labels = example()
    loss = softmax_cross_entropy(logits, labels, smoothing)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, reference(logits, labels, smoothing), rtol=1e-6)


def test_jit_equals_eager_and_gradients_are_right():
    logits, labels = example()
    jitted = jax.jit(softmax_cross_entropy, static_argnums=2)
    np.testing.assert_allclose(jitted(logits, labels, 0.1), softmax_cross_entropy(logits, labels, 0.1), rtol=1e-6)
    check_grads(lambda x: softmax_cross_entropy(x, labels, 0.1), (logits,), order=1, modes=["rev"], rtol=2e-2)


def test_order_of_the_batch_does_not_matter():
    logits, labels = example()
    order = np.random.default_rng(1).permutation(len(labels))
    np.testing.assert_allclose(
        softmax_cross_entropy(logits[order], labels[order]), softmax_cross_entropy(logits, labels), rtol=1e-6
    )


def test_masked_rows_equal_leaving_them_out():
    logits, labels = example()
    valid = jnp.array([True, False, True, True, False, True, True])
    labels_with_padding = jnp.where(valid, labels, -1)
    rows = np.flatnonzero(valid)
    loss, gradient = jax.value_and_grad(softmax_cross_entropy)(logits, labels_with_padding, 0.1, valid)
    np.testing.assert_allclose(loss, softmax_cross_entropy(logits[rows], labels[rows], 0.1), rtol=1e-6)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[1], 0)
    assert softmax_cross_entropy(logits, labels, valid=jnp.zeros(7, bool)) == 0


def test_large_logits_and_low_precision_stay_finite():
    logits = jnp.array([[1e4, -1e4], [0.0, 3e4]], jnp.float32)
    loss, gradient = jax.value_and_grad(softmax_cross_entropy)(logits, jnp.array([1, 1]))
    np.testing.assert_allclose(loss, 1e4)
    assert np.all(np.isfinite(gradient))
    low = softmax_cross_entropy(jnp.zeros((2, 4), jnp.bfloat16), jnp.array([0, 1]))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, np.log(4), rtol=1e-6)


@pytest.mark.parametrize("label", [-1, 5])
def test_a_label_out_of_range_is_nan(label):
    logits, _ = example(batch=1)
    assert np.isnan(softmax_cross_entropy(logits, jnp.array([label])))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range_is_an_input_error(smoothing):
    with pytest.raises(InputError, match="smoothing"):
        softmax_cross_entropy(*example(), smoothing=smoothing)
