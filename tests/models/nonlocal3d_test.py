"""The 3-D ResNet system: its networks, its head, and the picture of its attention."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import models
from vreid_jax.errors import InputError
from vreid_jax.models.layers.heads import BottleneckHead
from vreid_jax.models.layers.temporal_pooling import LastState, TemporalAttention

# Machine code that is not optimised compiles several times faster; the sums are the same.
QUICK = {"xla_backend_optimization_level": 0}
SMALL = {
    "width": 8,
    "stage_sizes": (1, 2, 1, 1),
    "non_local_after": {"res3": (0, 1), "res4": (0,)},
    "stem_length": 3,
    "feature_size": 16,
    "num_classes": 5,
}


def clips(shape=(2, 4, 64, 32, 3), seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.fixture
def made(initialised):
    def make(seed=0, **fields):
        """A module and variables in which nothing is zero."""
        module = models.create("nonlocal3d", **SMALL, **fields)
        rng = np.random.default_rng(seed)
        variables = initialised(module, clips())
        return module, jax.tree.map(lambda x: x + rng.uniform(0, 0.1, x.shape).astype(np.float32), variables)

    return make


@cache
def compiled(module):
    """One program for all tests of a module, and for all sizes of clips one trace each."""
    return jax.jit(module.apply, compiler_options=QUICK)


def apply(module, variables, x):
    return compiled(module)(variables, x)


@pytest.mark.parametrize("network", ["separable", "inflated", "average", "attention", "rnn"])
def test_every_network_ends_in_a_feature_and_logits(network):
    module = models.create("nonlocal3d", **SMALL, network=network)
    shapes, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), clips()))
    assert (shapes["feature"].shape, shapes["logits"].shape) == ((2, 16), (2, 5))
    found = {name for name in variables["params"]["backbone"] if name.startswith("non_local")}
    assert found == (
        {"non_local2_0", "non_local2_1", "non_local3_0"} if network in ("separable", "inflated") else set()
    )


@pytest.mark.slow
def test_a_fresh_network_is_the_one_without_blocks(initialised):
    module = models.create("nonlocal3d", **SMALL)
    variables = initialised(module, clips())
    plain = module.clone(non_local=False)
    without = {
        collection: {**tree, "backbone": {k: v for k, v in tree["backbone"].items() if "non_local" not in k}}
        for collection, tree in variables.items()
    }
    found, expected = apply(module, variables, clips()), apply(plain, without, clips())
    np.testing.assert_allclose(found["feature"], expected["feature"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_average_is_the_mean_of_single_frames(made):
    module, variables = made(network="average")
    x = clips()
    pooled = np.stack([apply(module, variables, x[:, t : t + 1])["pooled"][:, 0] for t in range(4)]).mean(0)
    head = BottleneckHead(16, 5)
    own = {collection: tree["head"] for collection, tree in variables.items() if "head" in tree}
    expected = head.apply(own, jnp.asarray(pooled))
    np.testing.assert_allclose(apply(module, variables, x)["logits"], expected["logits"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
def test_head_is_linear_norm_leaky_relu(jit, xla_as_users_have_it):
    rng = np.random.default_rng(0)
    pooled, kernel, classifier = (rng.standard_normal(shape) for shape in ((6, 7), (7, 4), (4, 3)))
    mean, scale, bias = (rng.standard_normal(4) for _ in range(3))
    var, offset = rng.uniform(0.5, 1.5, 4), rng.standard_normal(3)
    variables = {
        "params": {
            "fc": {"kernel": kernel},
            "bn": {"scale": scale, "bias": bias},
            "classifier": {"kernel": classifier, "bias": offset},
        },
        "batch_stats": {"bn": {"mean": mean, "var": var}},
    }
    variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
    x = (pooled @ kernel - mean) / np.sqrt(var + 1e-5) * scale + bias
    feature = np.where(x > 0, x, 0.1 * x)
    head = BottleneckHead(4, 3)
    found = (jax.jit(head.apply, compiler_options=xla_as_users_have_it) if jit else head.apply)(
        variables, jnp.asarray(pooled, jnp.float32)
    )
    np.testing.assert_allclose(found["feature"], feature, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["logits"], feature @ classifier + offset, rtol=1e-4, atol=1e-5)


def test_the_feature_is_before_dropout():
    head = BottleneckHead(4, 3)
    x = clips((6, 7))
    variables = head.init(jax.random.key(0), x)

    def step(key):
        return head.apply(variables, x, True, rngs={"dropout": key}, mutable=["batch_stats"])[0]

    first, second = step(jax.random.key(1)), step(jax.random.key(2))
    np.testing.assert_array_equal(first["feature"], second["feature"])
    assert np.abs(first["logits"] - second["logits"]).max() > 1e-3
    assert (first["feature"] != 0).all()


def test_temporal_attention_is_a_softmax_over_frames():
    rng = np.random.default_rng(0)
    maps, pooled = rng.standard_normal((2, 3, 4, 3, 5)), rng.standard_normal((2, 3, 5))
    module = TemporalAttention(6)
    variables = module.init(jax.random.key(0), *(jnp.asarray(x, jnp.float32) for x in (maps, pooled)))
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
    hidden = sum(padded[:, :, i : i + 4, j : j + 3] @ p["conv"]["kernel"][i, j] for i, j in np.ndindex(3, 3))
    scores = np.maximum(hidden + p["conv"]["bias"], 0).mean((2, 3)) @ p["score"]["kernel"]
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    found = module.apply(variables, *(jnp.asarray(x, jnp.float32) for x in (maps, pooled)))
    np.testing.assert_allclose(found, (weights * pooled).sum(1), atol=1e-5)


def test_rnn_is_the_state_after_the_last_frame():
    x = clips((2, 5, 3))
    module = LastState(4)
    variables = module.init(jax.random.key(0), x)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"]["lstm"])

    def gate(name, frame, state):
        return frame @ p[f"i{name}"]["kernel"] + state @ p[f"h{name}"]["kernel"] + p[f"h{name}"]["bias"]

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    state = cell = np.zeros((2, 4))
    for frame in np.asarray(x, np.float64).swapaxes(0, 1):
        forget, take, give = (sigmoid(gate(name, frame, state)) for name in "fio")
        cell = forget * cell + take * np.tanh(gate("g", frame, state))
        state = give * np.tanh(cell)
    np.testing.assert_allclose(module.apply(variables, x), state, atol=1e-5)


def test_every_tensor_of_temporal_pooling_gets_a_gradient():
    inputs = {TemporalAttention(6): (clips((2, 3, 4, 3, 5)), clips((2, 3, 5))), LastState(4): (clips((2, 5, 3)),)}
    for module, x in inputs.items():
        variables = module.init(jax.random.key(0), *x)
        readout = clips(jax.eval_shape(module.apply, variables, *x).shape, seed=1)
        loss = lambda v, module=module, x=x, r=readout: (module.apply(v, *x) * r).sum()  # noqa: E731
        gradients = jax.jit(jax.grad(loss))(variables)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
            assert np.isfinite(leaf).all(), path
            assert np.abs(leaf).max() > 1e-4, path


@pytest.mark.slow
def test_attention_map_is_the_softmax_over_the_clip_for_the_cell_of_a_pixel(made):
    module, variables = made(non_local_scale=0.5)
    x = clips()
    found = np.asarray(module.attention_map(variables, x, (3, 20, 31)))
    assert found.shape == (2, 2, 8, 4)  # res3 of 4x64x32
    np.testing.assert_allclose(found.sum((1, 2, 3)), 1, rtol=1e-5)
    _, state = jax.jit(lambda v, x: module.apply(v, x, mutable=["intermediates"]), compiler_options=QUICK)(variables, x)
    sown = state["intermediates"]["backbone"]["non_local2_1"]
    theta, phi = (np.asarray(sown[name][0], np.float64) for name in ("theta_map", "phi_map"))
    logits = 0.5 * np.einsum("bc,bthwc->bthw", theta[:, 1, 2, 3], phi)
    logits -= logits.max((1, 2, 3), keepdims=True)
    expected = np.exp(logits) / np.exp(logits).sum((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    coarse = module.attention_map(variables, x, (0, 0, 0), block="non_local3_0")
    assert coarse.shape == (2, 1, 4, 2)


@pytest.mark.parametrize(
    ("fields", "call", "words"),
    [
        ({}, {"position": (4, 0, 0)}, "position .* lies outside"),
        ({}, {"position": (0, 0, 0), "block": "non_local9_9"}, "blocks are non_local2_0, non_local2_1, non_local3_0"),
        ({"non_local": False}, {"position": (0, 0, 0)}, "has no non-local block"),
        ({"network": "average"}, {"position": (0, 0, 0)}, "has no non-local block"),
    ],
)
def test_attention_map_says_what_is_missing_before_it_computes(fields, call, words):
    """Shapes are all it is given; the inflated network is the quickest to trace of those with blocks."""
    module = models.create("nonlocal3d", **{**SMALL, "network": "inflated", **fields})
    x = clips((1, 4, 32, 16, 3))
    shapes = dict(jax.eval_shape(module.init, jax.random.key(0), x))
    with pytest.raises(InputError, match=words):
        module.attention_map(shapes, x, **call)


def test_an_unknown_network_is_named():
    module = models.create("nonlocal3d", **SMALL, network="lstm")
    with pytest.raises(InputError, match="network is 'lstm', expected one of separable, inflated, average"):
        jax.eval_shape(lambda: module.init(jax.random.key(0), clips()))
