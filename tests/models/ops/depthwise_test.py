"""The depthwise convolution: the form for CPUs and the native one against sums written out in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.models.ops import depthwise

SHAPE = (2, 3, 5, 4, 6)


def arrays():
    rng = np.random.default_rng(0)
    return rng.standard_normal(SHAPE), rng.standard_normal((3, 3, 1, SHAPE[-1])), rng.standard_normal(SHAPE)


def neighbours(height, width):
    """Every (row, column, tap row, tap column) whose input position lies inside the frame."""
    for row in range(height):
        for column in range(width):
            for i in range(3):
                for j in range(3):
                    if 0 <= row + i - 1 < height and 0 <= column + j - 1 < width:
                        yield row, column, i, j


def written_out(x, kernel, g):
    """Result, and gradients of `(result * g).sum()`, term by term."""
    y, to_x, to_kernel = np.zeros_like(x), np.zeros_like(x), np.zeros_like(kernel)
    for row, column, i, j in neighbours(*x.shape[2:4]):
        source = x[:, :, row + i - 1, column + j - 1]
        y[:, :, row, column] += source * kernel[i, j, 0]
        to_x[:, :, row + i - 1, column + j - 1] += g[:, :, row, column] * kernel[i, j, 0]
        to_kernel[i, j, 0] += (source * g[:, :, row, column]).sum((0, 1))
    return y, to_x, to_kernel


@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
@pytest.mark.parametrize("function", [depthwise.depthwise_conv3x3, depthwise._native], ids=["chosen", "native"])
def test_values_and_gradients_are_those_of_the_sum(function, jit):
    x, kernel, g = arrays()
    expected = written_out(x, kernel, g)

    def with_gradients(x, kernel, g):
        y, pull = jax.vjp(function, x, kernel)
        return (y, *pull(g))

    found = (jax.jit(with_gradients) if jit else with_gradients)(*(jnp.asarray(a, jnp.float32) for a in (x, kernel, g)))
    for actual, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)


def test_a_single_row_and_bfloat16_keep_shape_and_dtype():
    module = depthwise.DepthwiseConv3x3("bfloat16")
    x = jnp.ones((1, 1, 1, 2, 4))
    variables = module.init(jax.random.key(0), x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert (module.apply(variables, x).shape, module.apply(variables, x).dtype) == (x.shape, jnp.bfloat16)
