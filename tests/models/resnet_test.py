"""The ResNet over frames and clips: endpoints, precision, rematerialisation, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import models
from vreid_jax.errors import InputError

# Machine code that is not optimised compiles several times faster; the sums are the same.
QUICK = {"xla_backend_optimization_level": 0}
SMALL = {"width": 8, "stage_sizes": (1, 1, 1, 1)}


def clips(shape=(2, 8, 64, 32, 3), seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def shapes(name, x, **fields):
    module = models.create(name, **SMALL, **fields)
    return {k: v.shape for k, v in jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x)[0]).items()}


def test_endpoints_of_frames():
    assert shapes("resnet50", clips((2, 3, 64, 32, 3))) == {
        "stem": (2, 3, 32, 16, 8),
        "res2": (2, 3, 16, 8, 32),
        "res3": (2, 3, 8, 4, 64),
        "res4": (2, 3, 4, 2, 128),
        "res5": (2, 3, 4, 2, 256),
        "pooled": (2, 3, 256),
        "feature": (2, 256),
    }


@pytest.mark.parametrize(
    ("fields", "res3", "res5"),
    [
        ({}, (2, 4, 8, 4, 64), (2, 1, 2, 1, 256)),
        ({"temporal_stride": False}, (2, 8, 8, 4, 64), (2, 8, 2, 1, 256)),
        ({"last_stride": 1}, (2, 4, 8, 4, 64), (2, 1, 4, 2, 256)),
    ],
)
def test_endpoints_of_clips(fields, res3, res5):
    found = shapes("resnet50_m3d", clips(), **fields)
    assert (found["stem"], found["res3"], found["res5"]) == ((2, 8, 32, 16, 8), res3, res5)
    assert found["pooled"] == found["feature"] == (2, 256)


@pytest.mark.parametrize(
    ("name", "fields", "times"),
    [  # frames behind stem, res2, res3, res4, res5
        ("resnet3d_50", {}, (8, 4, 2, 1, 1)),
        ("resnet3d_50", {"temporal_pool": False, "temporal_shortcut": "mean"}, (8, 4, 2, 1, 1)),
        ("resnet50_i3d", {}, (8, 8, 4, 2, 1)),
        ("resnet50_p3d_b", {}, (8, 8, 4, 2, 1)),
        ("resnet50_separable", {"ral": "sct", "stem_length": 3}, (8, 8, 4, 2, 1)),
        ("resnet50_separable", {"temporal_strides": (1, 1, 1, 1, 1, 1)}, (8, 8, 8, 8, 8)),
        ("resnet50_p3d_c", {"temporal_strides": (2, 1, 1, 1, 2, 1)}, (4, 4, 4, 2, 2)),
    ],
)
def test_endpoints_of_3d_networks(name, fields, times):
    found = shapes(name, clips((2, 8, 64, 32, 3)), **fields)
    sizes = ((32, 16, 8), (16, 8, 32), (8, 4, 64), (4, 2, 128), (2, 1, 256))
    endpoints = ("stem", "res2", "res3", "res4", "res5")
    expected = {e: (2, time, *size) for e, time, size in zip(endpoints, times, sizes, strict=True)}
    assert found == {**expected, "pooled": (2, 256), "feature": (2, 256)}


def test_blocks_stand_behind_the_bottlenecks_they_are_asked_for():
    for name in ("resnet50", "resnet50_m3d", "resnet3d_50"):
        after = {"res3": [1], "res5": [0]}  # as a configuration brings it
        module = models.create(name, width=8, stage_sizes=[1, 2, 1, 1], non_local_after=after)
        params = jax.eval_shape(lambda module=module: module.init(jax.random.key(0), jnp.zeros((1, 8, 32, 16, 3))))
        blocks = {key for key in params["params"] if key.startswith("non_local")}
        assert blocks == {"non_local2_1", "non_local4_0"}


@pytest.mark.slow
def test_frames_do_not_see_each_other(initialised):
    module = models.create("resnet50", **SMALL)
    x = clips((1, 3, 64, 32, 3))
    variables = initialised(module, x)
    apply = jax.jit(module.apply, compiler_options=QUICK)
    alone = apply(variables, x[:, 1:2])["pooled"]
    np.testing.assert_allclose(apply(variables, x)["pooled"][:, 1:2], alone, rtol=1e-4, atol=1e-5)


def trained(variables, module, x):
    """Variables as they are after some training: nothing at zero, statistics that fit."""
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda p: p + 0.05 * rng.standard_normal(p.shape).astype(np.float32), variables["params"])
    _, updated = jax.jit(lambda v: module.apply(v, x, train=True, mutable=["batch_stats"]), compiler_options=QUICK)(
        {**variables, "params": params}
    )
    return {"params": params, **updated}


@pytest.fixture(scope="module")
def m3d(initialised, xla_as_users_have_it):
    """A module, its variables, clips, and its outputs under jit."""
    module = models.create("resnet50_m3d", **SMALL)
    x = clips((4, 8, 64, 32, 3))
    variables = trained(initialised(module, x), module, x)
    return module, variables, x, jax.jit(module.apply, compiler_options=xla_as_users_have_it)(variables, x)


@pytest.mark.slow
def test_jit_equals_eager_in_value(m3d):
    module, variables, x, jitted = m3d
    for name, expected in module.apply(variables, x).items():
        np.testing.assert_allclose(jitted[name], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_remat_changes_nothing(initialised):
    x = clips((2, 4, 32, 16, 3))
    plain = models.create("resnet50", **SMALL)
    variables = trained(initialised(plain, x), plain, x)
    gradients = []
    for module in (plain, plain.clone(remat=True)):

        def loss(params, module=module):
            outputs, _ = module.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return jnp.sin(outputs["pooled"]).sum()

        gradients.append(jax.jit(jax.grad(loss), compiler_options=QUICK)(variables["params"]))
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradients[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a / scale, b / scale, atol=1e-4), *gradients)


@pytest.mark.slow
def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters(m3d):
    exactly, variables, x, exact = m3d
    module = exactly.clone(dtype="bfloat16")
    own = jax.eval_shape(module.init, jax.random.key(0), x)
    _, updated = jax.eval_shape(lambda v: module.apply(v, x, train=True, mutable=["batch_stats"]), own)
    assert {leaf.dtype for leaf in jax.tree.leaves((own, updated))} == {jnp.dtype("float32")}
    outputs = jax.jit(module.apply, compiler_options=QUICK)(variables, x)
    assert outputs["res5"].dtype == jnp.bfloat16
    assert outputs["pooled"].dtype == jnp.float32
    assert np.abs(outputs["pooled"] - exact["pooled"]).max() < 0.1 * np.abs(exact["pooled"]).max()


def test_another_clip_length_needs_temporal_attention_off():
    module = models.create("resnet50_m3d", **SMALL)
    with pytest.raises(InputError, match="clip has 6 frames"):
        jax.eval_shape(module.init, jax.random.key(0), clips((1, 6, 64, 32, 3)))
    free = models.create("resnet50_m3d", ral="sc", **SMALL)
    built = jax.eval_shape(lambda: free.init(jax.random.key(0), clips((1, 8, 64, 32, 3))))
    other = jax.eval_shape(lambda: free.init(jax.random.key(0), clips((1, 5, 64, 32, 3))))
    assert built == other


@pytest.mark.parametrize("fields", [{"ral": "x"}, {"ral": "ss"}, {"last_stride": 3}, {"temporal_scales": "linear"}])
def test_wrong_fields_are_named(fields):
    module = models.create("resnet50_m3d", **SMALL, **fields)
    with pytest.raises(InputError, match=next(iter(fields))):
        jax.eval_shape(module.init, jax.random.key(0), clips((1, 8, 32, 16, 3)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"temporal_strides": (1, 1, 2)}, "expected six numbers 1 or 2"),
        ({"temporal_strides": (1, 1, 1, 3, 1, 1)}, "expected six numbers 1 or 2"),
        ({"temporal_shortcut": "max"}, "temporal_shortcut is 'max', expected one of mean, subsample"),
        ({"stem_length": 4}, "stem_length is 4, expected an odd number"),
        ({"non_local_after": {"res3": (1,)}}, r"non_local_after has 'res3': \(1,\), but .* res3: 1"),
        ({"non_local_after": {"layer2": (0,)}}, "non_local_after has 'layer2'"),
    ],
)
def test_wrong_fields_of_3d_networks_are_named(fields, words):
    module = models.create("resnet50_separable", **SMALL, **fields)
    with pytest.raises(InputError, match=words):
        jax.eval_shape(lambda: module.init(jax.random.key(0), clips((1, 8, 32, 16, 3))))
