"""The strong baseline: its pooling, its neck, and the backbones it can be built on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import models
from vreid_jax.errors import InputError
from vreid_jax.models import registry
from vreid_jax.models.backbones import frames
from vreid_jax.models.layers.heads import BatchNormNeck

QUICK = {"xla_backend_optimization_level": 0}
NARROW = {"width": 4, "stage_sizes": (1, 1, 1, 1)}


def clips(shape=(3, 4, 32, 16, 3)):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def made(**fields):
    module = models.create("strong_baseline", backbone_fields=NARROW, **fields)
    variables = jax.jit(
        lambda: dict(module.lazy_init(jax.random.key(0), jax.ShapeDtypeStruct((1, 4, 32, 16, 3), jnp.float32))),
        compiler_options=QUICK,
    )()
    rng = np.random.default_rng(0)
    return module, jax.tree.map(lambda x: x + rng.uniform(-0.1, 0.1, x.shape).astype(np.float32), variables)


def apply(module, variables, x):
    return jax.jit(module.apply, compiler_options=QUICK)(variables, x)


def test_the_neck_separates_the_feature_of_losses_from_that_of_retrieval():
    """Both modes by the formulas of batch norm: with the batch's statistics, and with the running ones."""
    pooled = np.random.default_rng(0).normal(2.0, 3.0, (6, 5))
    mean, var, scale = np.arange(5.0), np.arange(1.0, 6.0), np.linspace(0.5, 1.5, 5)
    kernel = np.random.default_rng(1).normal(size=(5, 4))
    variables = {
        "params": {"bn": {"scale": scale}, "classifier": {"kernel": kernel}},
        "batch_stats": {"bn": {"mean": mean, "var": var}},
    }
    variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
    neck = BatchNormNeck(num_classes=4)
    x = jnp.asarray(pooled, jnp.float32)
    found = neck.apply(variables, x, train=False)
    behind = (pooled - mean) / np.sqrt(var + 1e-5) * scale
    np.testing.assert_allclose(found["feature"], behind, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["logits"], behind @ kernel, rtol=1e-4, atol=1e-4)
    found, _ = neck.apply(variables, x, train=True, mutable=["batch_stats"])
    behind = (pooled - pooled.mean(0)) / np.sqrt(pooled.var(0) + 1e-5) * scale
    np.testing.assert_allclose(found["feature"], pooled, rtol=1e-6)
    np.testing.assert_allclose(found["before_neck"], pooled, rtol=1e-6)
    np.testing.assert_allclose(found["logits"], behind @ kernel, rtol=1e-4, atol=1e-4)


def test_neck_and_classifier_have_no_bias_and_the_classifier_starts_near_zero():
    variables = BatchNormNeck(num_classes=50).init(jax.random.key(0), jnp.ones((2, 40)))
    assert set(variables["params"]["bn"]) == {"scale"}
    assert set(variables["params"]["classifier"]) == {"kernel"}
    np.testing.assert_allclose(variables["params"]["classifier"]["kernel"].std(), 0.001, rtol=0.1)
    assert "classifier" not in BatchNormNeck().init(jax.random.key(0), jnp.ones((2, 40)))["params"]


@pytest.mark.slow
def test_the_average_is_that_of_the_backbone_on_single_frames():
    module, variables = made()
    x = clips()
    found = apply(module, variables, x)
    own = {name: variables[name]["frames"] for name in ("params", "batch_stats")}
    single = registry.create("resnet50", **NARROW).apply(own, x.reshape(12, 1, 32, 16, 3))["pooled"]
    expected = np.asarray(single).reshape(3, 4, -1).mean(1)
    np.testing.assert_allclose(found["before_neck"], expected, rtol=1e-4, atol=1e-5)
    assert found["res5"].shape == (3, 4, 2, 1, 128)  # a sixteenth of the height: the last stride is 1


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["average", "attention"])
def test_pooling_of_a_still_clip_does_not_depend_on_its_length(pooling):
    module, variables = made(pooling=pooling, attention_size=8)
    still = clips((2, 1, 32, 16, 3))
    short, long = (apply(module, variables, jnp.repeat(still, n, 1))["feature"] for n in (2, 5))
    np.testing.assert_allclose(short, long, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_only_the_rnn_sees_the_order_of_frames():
    x = clips()
    for pooling, sees in (("average", False), ("attention", False), ("rnn", True)):
        module, variables = made(pooling=pooling, attention_size=8, lstm_size=6)
        forward, backward = (apply(module, variables, clip)["feature"] for clip in (x, x[:, ::-1]))
        assert np.allclose(forward, backward, rtol=1e-4, atol=1e-5) != sees
        assert forward.shape == (3, 6 if pooling == "rnn" else 128)


def test_a_backbone_that_is_registered_is_taken_by_its_name(monkeypatch):
    monkeypatch.setattr(frames, "_BACKBONES", dict(frames._BACKBONES))
    frames.register("tiny", functools.partial(registry.create, "resnet50", **NARROW), maps="res4")
    module = models.create("strong_baseline", backbone="tiny", pooling="attention", attention_size=8)
    variables = jax.eval_shape(module.init, jax.random.key(0), clips())
    assert variables["params"]["pooling"]["conv"]["kernel"].shape == (3, 3, 64, 8)  # the channels of res4
    with pytest.raises(ValueError, match="registered twice"):
        frames.register("tiny", registry.create, maps="res4")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pooling": "max"}, "pooling is 'max', expected one of average, attention, rnn"),
        ({"backbone": "resnet5"}, "there is no backbone on frames 'resnet5', did you mean 'resnet50'"),
        ({"backbone_fields": {"depth": 3}}, "model 'resnet50' has no field 'depth'"),
    ],
)
def test_unknown_names_are_errors(fields, words):
    module = models.create("strong_baseline", **fields)
    with pytest.raises(InputError, match=words):
        jax.eval_shape(module.init, jax.random.key(0), clips())
