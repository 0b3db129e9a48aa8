"""Max-pooling against the native operation, its gradient at ties included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vreid_jax.models.ops.pool import max_pool, max_pool_3_in_time, max_pool_3x3_stride2, max_pool_3x3_stride2_ceil

# Machine code that is not optimised compiles several times faster; the sums are the same.
QUICK = {"xla_backend_optimization_level": 0}


@pytest.mark.parametrize("size", [(6, 4), (5, 7), (1, 3)])
def test_max_pool_is_the_padded_window_maximum(size):
    x = jnp.asarray(np.random.default_rng(1).standard_normal((2, 3, *size, 4)), jnp.float32)

    def reference(x):
        window, strides, padding = (1, 1, 3, 3, 1), (1, 1, 2, 2, 1), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding)

    np.testing.assert_array_equal(max_pool_3x3_stride2(x), reference(x))
    ours, expected = (
        jax.jit(jax.grad(lambda x, f=f: jnp.sin(f(x)).sum()), compiler_options=QUICK)(x)
        for f in (max_pool_3x3_stride2, reference)
    )
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize(("size", "pooled"), [((6, 4), (3, 2)), ((5, 7), (2, 3)), ((8, 3), (4, 1)), ((2, 1), (1, 1))])
def test_max_pool_that_rounds_sizes_up_begins_at_the_first_position(size, pooled):
    x = np.random.default_rng(1).standard_normal((2, 1, *size, 3)).astype(np.float32)
    found = max_pool_3x3_stride2_ceil(jnp.asarray(x))
    assert found.shape == (2, 1, *pooled, 3)
    for row, column in np.ndindex(pooled):
        window = x[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        np.testing.assert_array_equal(found[:, :, row, column], window.max((2, 3)))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", [1, 4, 5])
def test_max_pool_in_time_is_the_padded_window_maximum(length, stride):
    x = jnp.asarray(np.random.default_rng(1).standard_normal((2, length, 3, 2, 4)), jnp.float32)

    def reference(x):
        window, strides, padding = (1, 3, 1, 1, 1), (1, stride, 1, 1, 1), ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding)

    np.testing.assert_array_equal(max_pool_3_in_time(x, stride), reference(x))


@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        ((3, 3, 3), (1, 1, 1), ((1, 1), (1, 1), (1, 1))),
        ((3, 3, 3), (2, 2, 2), ((0, 1), (1, 1), (1, 0))),
        ((2, 2, 3), (2, 1, 3), ((0, 0), (1, 0), (0, 2))),
    ],
)
def test_of_equal_values_the_first_has_the_gradient(window, strides, padding):
    x = jnp.asarray(np.random.default_rng(2).integers(0, 3, (2, 5, 6, 7, 3)), jnp.float32)

    def reference(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), ((0, 0), *padding, (0, 0)))

    def ours(x):
        return max_pool(x, window, strides, padding)

    g = jnp.asarray(np.random.default_rng(3).standard_normal(jax.eval_shape(reference, x).shape), jnp.float32)
    (found, to_x), (expected, to_x_natively) = (
        jax.jit(lambda x, f=f: (f(x), jax.vjp(f, x)[1](g)[0]), compiler_options=QUICK)(x) for f in (ours, reference)
    )
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(to_x, to_x_natively, atol=1e-5)
