"""The non-local block: its equation, its start, what it holds in memory."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.models.layers import non_local
from vreid_jax.models.layers.non_local import NonLocal, attend, attention_logits
from vreid_jax.pretrained import name_rules

_FILE = Path(__file__).parents[1] / "golden" / "golden_state.py"
_spec = importlib.util.spec_from_file_location("golden_state", _FILE)
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)


def clip(shape=(2, 4, 6, 5, 8), seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def randomised(variables, seed=1):
    """The same tree with values that make every part of it count; variances stay positive."""
    rng = np.random.default_rng(seed)
    return jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.asarray(
            rng.uniform(0.5, 1.5, x.shape) if path[-1].key in ("scale", "var") else 0.3 * rng.standard_normal(x.shape),
            jnp.float32,
        ),
        variables,
    )


def in_float64(x, variables, scale=1.0, subsample=False):
    """Eq. 3-6, position by position, the batch norm in evaluation mode."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    s = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["batch_stats"]["bn"])
    x = np.asarray(x, np.float64)
    theta, phi, g = (x @ p[name]["kernel"] + p[name]["bias"] for name in ("theta", "phi", "g"))
    if subsample:
        h, w = (size // 2 * 2 for size in x.shape[2:4])
        corners = [(i, j) for i in (0, 1) for j in (0, 1)]
        phi, g = (np.max([each[:, :, i:h:2, j:w:2] for i, j in corners], 0) for each in (phi, g))
    y = np.zeros(theta.shape)
    for b, t, i, j in np.ndindex(x.shape[:4]):
        logits = scale * (phi[b] @ theta[b, t, i, j])
        weights = np.exp(logits - logits.max())
        y[b, t, i, j] = (weights[..., None] * g[b]).sum((0, 1, 2)) / weights.sum()
    y = (y @ p["out"]["kernel"] + p["out"]["bias"] - s["mean"]) / np.sqrt(s["var"] + 1e-5)
    return x + y * p["bn"]["scale"] + p["bn"]["bias"]


@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
@pytest.mark.parametrize("fields", [{}, {"scale": 0.5}, {"subsample": True}], ids=["plain", "scale", "subsample"])
def test_is_equations_3_to_6(fields, jit, xla_as_users_have_it):
    x = clip()
    module = NonLocal(**fields)
    variables = randomised(jax.eval_shape(module.init, jax.random.key(0), x))
    apply = jax.jit(module.apply, compiler_options=xla_as_users_have_it) if jit else module.apply
    np.testing.assert_allclose(apply(variables, x), in_float64(x, variables, **fields), atol=1e-5)


@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
@pytest.mark.parametrize("name", ["non_local_block", "non_local_block_subsampled"])
def test_equals_the_original(name, jit, xla_as_users_have_it):
    expected = golden.vectors(name)
    x = jnp.asarray(golden.clip(expected["0/input_shape"], 0).transpose(0, 2, 3, 4, 1))
    variables = {"params": {}, "batch_stats": {}}
    for key, value in golden.state_dict(name).items():
        path = name_rules.translate(key, value.ndim, name_rules.NON_LOCAL)
        if path is not None:
            collection, module, leaf = path
            value = value[:, :, 0, 0, 0].T if value.ndim > 1 else value
            variables[collection].setdefault(module, {})[leaf] = value
    block = NonLocal(subsample=name.endswith("subsampled"))
    found = (jax.jit(block.apply, compiler_options=xla_as_users_have_it) if jit else block.apply)(variables, x)
    expected = expected["0/output"].transpose(0, 2, 3, 4, 1)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_frame_alone_is_a_clip_of_one_frame():
    x = clip()
    variables = randomised(jax.eval_shape(NonLocal().init, jax.random.key(0), x))
    found = NonLocal(per_frame=True).apply(variables, x)
    expected = np.stack([in_float64(x[:, t : t + 1], variables)[:, 0] for t in range(4)], 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("train", [False, True])
def test_starts_as_the_identity_and_every_tensor_that_can_learns(train):
    x = clip()
    variables = NonLocal().init(jax.random.key(0), x)
    out, _ = NonLocal().apply(variables, x, train, mutable=["batch_stats"])
    np.testing.assert_array_equal(out, x)
    target = clip(seed=2)

    @jax.jit
    def gradient(params):
        def loss(params):
            y, _ = NonLocal().apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
            return ((y - target) ** 2).mean()

        return jax.grad(loss)(params)

    params, largest = variables["params"], None
    for _ in range(3):
        step = gradient(params)
        size = jax.tree.map(lambda g: float(np.abs(g).max()), step)
        largest = size if largest is None else jax.tree.map(max, largest, size)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, step)
    # A constant in φ adds the same to all keys, one in g or behind W is taken off by the batch norm.
    without = {("phi", "bias"), ("g", "bias"), ("out", "bias")}
    for module, leaves in largest.items():
        for leaf, value in leaves.items():
            assert value < 1e-6 if (module, leaf) in without else value > 1e-5, (module, leaf, value)


def naive(theta, phi, g):
    return jax.nn.softmax(jnp.einsum("bnc,bmc->bnm", theta, phi), -1) @ g


@pytest.fixture(params=[False, True], ids=["in a loop", "written out for oneDNN"])
def way(request, monkeypatch):
    monkeypatch.setattr(non_local, "has_onednn", lambda: request.param)


@pytest.mark.usefixtures("way")
def test_parts_of_the_queries_give_the_whole(monkeypatch):
    monkeypatch.setattr(non_local, "QUERIES_AT_ONCE", 5)  # 23 positions: four parts of five, one of three
    theta, phi, g = (clip((2, 23, 4), seed) for seed in range(3))
    np.testing.assert_allclose(jax.jit(attend)(theta, phi, g), naive(theta, phi, g), atol=1e-5)

    def gradients(f):
        return jax.jit(jax.grad(lambda *args: jnp.sin(f(*args)).sum(), argnums=(0, 1, 2)))(theta, phi, g)

    for found, expected in zip(gradients(attend), gradients(naive), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.fixture
def temporaries(xla_as_users_have_it):
    """Bytes that the compiled function holds besides its arguments and results."""

    def measure(f, *shapes):
        arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        compiled = jax.jit(f).lower(*arguments).compile(xla_as_users_have_it)
        return compiled.memory_analysis().temp_size_in_bytes

    return measure


@pytest.mark.parametrize("channels", [16, 256])
def test_never_holds_the_whole_attention(channels, temporaries):
    """Of the code path chosen here; `ops/onednn_test.py` also runs this test where XLA calls oneDNN.

    The written-out path is only chosen there, and elsewhere a compiler may hold several of its parts at once.
    """
    shapes, whole = [(1, 4096, channels)] * 3, 4096 * 4096 * 4

    def gradients(f):
        return jax.grad(lambda *args: jnp.sin(f(*args)).sum(), argnums=(0, 1, 2))

    assert temporaries(attend, *shapes) < 0.4 * whole
    assert temporaries(gradients(attend), *shapes) < 0.8 * whole
    assert temporaries(gradients(naive), *shapes) > whole  # what is measured is this


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", [20, 1200])
def test_nothing_of_that_size_is_kept_for_the_backward_pass(size):
    theta = clip((1, size, 4))
    _, backward = jax.vjp(attend, theta, theta, theta)
    assert max(leaf.size for leaf in jax.tree.leaves(backward) if hasattr(leaf, "size")) < size * size / 2


def test_logits_are_float32_under_bfloat16():
    theta, phi = (jnp.asarray(clip((1, 40, 64), seed), jnp.bfloat16) for seed in (0, 1))
    logits = attention_logits(theta, phi, 1.0)
    assert logits.dtype == jnp.float32
    exact = np.einsum("bnc,bmc->bnm", *(np.asarray(each, np.float64) for each in (theta, phi)))
    # bfloat16 would be off by 0.05 at logits of 20.
    np.testing.assert_allclose(logits, exact, atol=1e-4)
    x = jnp.asarray(clip(), jnp.bfloat16)
    module = NonLocal(dtype="bfloat16")
    variables = randomised(jax.eval_shape(module.init, jax.random.key(0), x))
    found = np.asarray(jax.jit(module.apply)(variables, x), np.float64)
    assert np.abs(found - in_float64(x, variables)).max() < 0.1
