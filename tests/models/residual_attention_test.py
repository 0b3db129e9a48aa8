"""The residual attention layer against Eq. 7-12 in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.models.layers.residual_attention import ResidualAttention

BRANCHES = ["s", "t", "c", "sct"]


def clip(shape=(2, 4, 3, 2, 32)):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def randomised(variables, seed=1):
    rng = np.random.default_rng(seed)
    return jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.asarray(
            rng.uniform(0.5, 1.5, x.shape) if path[-1].key in ("scale", "var") else rng.standard_normal(x.shape),
            jnp.float32,
        ),
        variables,
    )


def in_float64(x, variables, branches, released):
    params, stats = (jax.tree.map(lambda a: np.asarray(a, np.float64), variables[k]) for k in ("params", "batch_stats"))
    x = np.asarray(x, np.float64)

    def between(h, name):
        def norm(h):
            scaled = (h - stats[name]["mean"]) / np.sqrt(stats[name]["var"] + 1e-5)
            return scaled * params[name]["scale"] + params[name]["bias"]

        return norm(np.maximum(h, 0)) if released else np.maximum(norm(h), 0)

    mask = np.ones_like(x)
    if "s" in branches:  # Eq. 9, 10
        mean = np.pad(x.mean(1), ((0, 0), (1, 1), (1, 1), (0, 0)))
        kernel = params["conv1_s"]["kernel"]
        hidden = np.zeros((*x[:, 0, ..., :1].shape,))
        for i in range(3):
            for j in range(3):
                hidden += mean[:, i : i + x.shape[2], j : j + x.shape[3]] @ kernel[i, j]
        mask = mask * (between(hidden, "bn_s") * params["conv2_s"]["kernel"].item())[:, None]
    if "c" in branches:  # Eq. 11, 12
        hidden = between(x.mean((1, 2, 3)) @ params["conv1_c"]["kernel"], "bn_c") @ params["conv2_c"]["kernel"]
        mask = mask * (np.maximum(hidden, 0) if released else hidden)[:, None, None, None]
    if "t" in branches:
        hidden = between(x.mean((2, 3, 4)) @ params["conv1_t"]["kernel"], "bn_t") @ params["conv2_t"]["kernel"]
        mask = mask * hidden[:, :, None, None, None]
    return x / 2 + x / (1 + np.exp(-mask))  # Eq. 7, 8


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("branches", BRANCHES)
def test_is_equations_7_to_12(branches, released, xla_as_users_have_it):
    x = clip()
    module = ResidualAttention(4, branches, released)
    variables = randomised(jax.eval_shape(module.init, jax.random.key(0), x))
    expected = in_float64(x, variables, branches, released)
    assert np.abs(expected - np.asarray(x)).max() > 0.1
    np.testing.assert_allclose(module.apply(variables, x), expected, atol=1e-5)
    np.testing.assert_allclose(
        jax.jit(module.apply, compiler_options=xla_as_users_have_it)(variables, x), expected, atol=1e-5
    )


def test_jit_equals_eager_at_an_ordinary_size(xla_as_users_have_it):
    x = clip((8, 8, 16, 8, 64))
    module = ResidualAttention(8)
    variables = randomised(jax.eval_shape(module.init, jax.random.key(0), x))
    expected = in_float64(x, variables, "sct", False)
    np.testing.assert_allclose(
        jax.jit(module.apply, compiler_options=xla_as_users_have_it)(variables, x), expected, atol=1e-4
    )
    np.testing.assert_allclose(module.apply(variables, x), expected, atol=1e-4)


@pytest.mark.parametrize("branches", BRANCHES)
def test_starts_as_the_identity_and_every_tensor_learns(branches):
    x = clip((4, 4, 3, 2, 32)) * jnp.arange(1.0, 5).reshape(4, 1, 1, 1, 1)
    module = ResidualAttention(4, branches)
    variables = module.init(jax.random.key(0), x)
    np.testing.assert_array_equal(module.apply(variables, x), x)
    target = jnp.asarray(np.random.default_rng(2).standard_normal(x.shape), jnp.float32)

    @jax.jit
    def gradient(params):
        def loss(params):
            y, _ = module.apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
            return ((y - target) ** 2).mean()

        return jax.grad(loss)(params)

    params, largest = variables["params"], None
    for _ in range(3):
        step = gradient(params)
        size = jax.tree.map(lambda g: float(np.abs(g).max()), step)
        largest = size if largest is None else jax.tree.map(max, largest, size)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, step)
    assert min(jax.tree.leaves(largest)) > 1e-5, largest


def test_another_length_is_an_error():
    module = ResidualAttention(4)
    variables = module.init(jax.random.key(0), clip())
    with pytest.raises(InputError, match="built for 4 frames here, got 6"):
        module.apply(variables, clip((2, 6, 3, 2, 32)))
