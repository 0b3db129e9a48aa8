"""OSNet: endpoints, means over frames, its backbone alone, instance norm; parity is in pretrained/parity_test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import models
from vreid_jax.errors import InputError
from vreid_jax.models.backbones import osnet
from vreid_jax.models.layers.norm import InstanceNorm
from vreid_jax.models.ops.pool import mean_pool_2x2

# Machine code that is not optimised compiles several times faster; the sums are the same.
QUICK = {"xla_backend_optimization_level": 0}


def clips(shape=(2, 3, 64, 32, 3), seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def drawn(module, x):
    """Variables drawn at random, without compiling an initialisation; biases are positive, so that gates are open."""
    rng = np.random.default_rng(1)

    def draw(path, leaf):
        if path[-1].key in ("scale", "var"):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        if path[-1].key in ("bias", "mean"):
            return jnp.asarray(rng.uniform(0.2, 0.5, leaf.shape), jnp.float32)
        return jnp.asarray(rng.standard_normal(leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1])), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(module.init, jax.random.key(0), x))


@pytest.fixture(scope="module")
def small():
    """The smallest network with a classifier, jitted; its variables, and clips."""
    module, x = models.create("osnet_x0_25", num_classes=5), clips()
    return jax.jit(module.apply, compiler_options=QUICK), drawn(module, x), x


@pytest.mark.slow
def test_endpoints(small):
    apply, variables, x = small
    assert {name: value.shape for name, value in apply(variables, x).items()} == {
        "conv1": (2, 3, 32, 16, 16),
        "conv2": (2, 3, 8, 4, 64),
        "conv3": (2, 3, 4, 2, 96),
        "conv4": (2, 3, 4, 2, 128),
        "conv5": (2, 3, 4, 2, 128),
        "pooled": (2, 128),
        "feature": (2, 512),
        "logits": (2, 5),
    }


def test_pooled_and_feature_are_means_over_frames_and_frames_do_not_see_each_other(small):
    apply, variables, x = small
    whole = apply(variables, x)
    # A clip that repeats one frame has the outputs of that frame.
    alone = [apply(variables, jnp.repeat(x[:, t : t + 1], 3, axis=1)) for t in range(3)]
    for name in ("pooled", "feature", "logits"):
        mean = np.mean([outputs[name] for outputs in alone], axis=0)
        assert np.abs(alone[0][name] - mean).max() > 1e-3
        np.testing.assert_allclose(whole[name], mean, rtol=1e-4, atol=1e-5 * np.abs(mean).max())


@pytest.mark.slow
def test_the_backbone_alone_is_the_same_network_without_head(small):
    _, variables, x = small
    backbone = osnet.backbone("osnet_x0_25")
    own = {key: value["backbone"] for key, value in variables.items()}
    shapes = jax.eval_shape(backbone.init, jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    found = jax.eval_shape(backbone.apply, own, x)
    assert found["conv5"].shape == (2, 3, 4, 2, 128)
    assert found["pooled"].shape == (2, 3, 128)
    with pytest.raises(InputError, match="'resnet50' is not an OSNet"):
        osnet.backbone("resnet50")


@pytest.mark.parametrize(
    "instance_norm", ["before", *(pytest.param(norm, marks=pytest.mark.slow) for norm in ("", "after"))]
)
def test_every_tensor_of_a_block_gets_a_gradient(instance_norm):
    block = osnet.Block(256, instance_norm)  # with four units in the gate: a single one can be closed
    x = clips((2, 2, 6, 4, 16))
    variables = drawn(block, x)

    def loss(params):
        y, _ = block.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return (jnp.sin(y) * clips(y.shape, seed=2)).sum()

    gradients = jax.jit(jax.grad(loss), compiler_options=QUICK)(variables["params"])
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 1e-6, path


def test_wrong_fields_are_named():
    with pytest.raises(InputError, match="width of OSNet is 24, expected a multiple of 16"):
        jax.eval_shape(models.create("osnet_x1_0", width=24).init, jax.random.key(0), clips())
    with pytest.raises(InputError, match="norm of OSNet is 'group', expected one of batch, ibn, ain"):
        jax.eval_shape(osnet.OSNetBackbone(norm="group").init, jax.random.key(0), clips())


def test_bfloat16_keeps_float32_parameters_and_results():
    module = models.create("osnet_x0_25", dtype="bfloat16")
    outputs, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), clips()))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert (outputs["conv5"].dtype, outputs["feature"].dtype) == (jnp.bfloat16, jnp.float32)


def test_instance_norm_takes_the_statistics_of_each_frame():
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 4, 5))
    scale, bias = np.arange(1.0, 6.0), np.arange(5.0)
    expected = np.empty_like(x)
    for b in range(2):
        for t in range(2):
            for c in range(5):
                values = x[b, t, :, :, c]
                expected[b, t, :, :, c] = (values - values.mean()) / np.sqrt(values.var() + 1e-5) * scale[c] + bias[c]
    params = {"params": {"scale": jnp.asarray(scale), "bias": jnp.asarray(bias)}}
    np.testing.assert_allclose(InstanceNorm().apply(params, jnp.asarray(x, jnp.float32)), expected, atol=1e-5)


def test_means_of_blocks_leave_an_odd_border_out():
    x = jnp.arange(15.0).reshape(1, 1, 3, 5, 1)
    # (0 + 1 + 5 + 6) / 4 and (2 + 3 + 7 + 8) / 4.
    np.testing.assert_array_equal(mean_pool_2x2(x)[0, 0, :, :, 0], [[3.0, 5.0]])


def test_frames_that_are_too_small_are_one_sentence_and_the_smallest_give_a_feature():
    def shapes(height, width):
        x = jax.ShapeDtypeStruct((1, 1, height, width, 3), jnp.float32)
        return jax.eval_shape(models.create("osnet_x0_25").init_with_output, jax.random.key(0), x)[0]

    assert shapes(osnet.SMALLEST, osnet.SMALLEST)["conv5"].shape == (1, 1, 1, 1, 128)
    for height, width in ((17, 12), (12, 17), (1, 1)):
        with pytest.raises(InputError, match=f"frames of {height}x{width} are too small for OSNet; it needs 13x13"):
            shapes(height, width)
