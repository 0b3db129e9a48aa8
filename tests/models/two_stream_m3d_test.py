"""The two-stream system: its outputs, and a temporal stream that starts as the spatial one."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import models
from vreid_jax.errors import InputError
from vreid_jax.models.systems.two_stream_m3d import downsample, init_temporal_from_spatial

# Machine code that is not optimised compiles several times faster; the sums are the same.
QUICK = {"xla_backend_optimization_level": 0}
SMALL = {"width": 8, "stage_sizes": (1, 1, 1, 1), "num_classes": 5, "clip_length": 4}
SAME_STRIDE = {"spatial_last_stride": 2, "temporal_last_stride": 2}


def clips(shape=(2, 4, 64, 32, 3), seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@cache
def compiled(module, stream=None):
    """One program for all tests of a module, and for all sizes of clips one trace each."""
    return jax.jit(partial(module.apply, stream=stream), compiler_options=QUICK)


def drawn(module):
    """Random values in every tensor, for tests of copies, where no initialiser need be compiled."""
    rng = np.random.default_rng(0)
    shapes = dict(jax.eval_shape(module.init, jax.random.key(0), clips()))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.5, 0.1, leaf.shape), jnp.float32), shapes)


def trained_spatial(variables):
    """Variables whose spatial stream is not at its initialisation any more."""
    rng = np.random.default_rng(1)

    def change(path, leaf):
        if path[1].key != "spatial":
            return leaf
        if path[-1].key in ("scale", "var"):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        return leaf + 0.05 * rng.standard_normal(leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(change, variables)


@pytest.mark.slow
def test_outputs(initialised):
    module = models.create("two_stream_m3d", **SMALL)
    x = clips()
    variables = trained_spatial(initialised(module, x))
    fused = compiled(module)(variables, x)
    parts = []
    for name in ("spatial", "temporal"):
        alone = compiled(module, name)(variables, x)
        np.testing.assert_allclose(fused["streams"][name]["feature"], alone["feature"], rtol=1e-3, atol=1e-4)
        parts.append(alone["feature"] / np.linalg.norm(alone["feature"], axis=-1, keepdims=True))
    np.testing.assert_allclose(fused["feature"], np.concatenate(parts, -1), atol=1e-4)
    for name in ("logits", "stem", "res5", "pooled"):
        np.testing.assert_array_equal(fused[name], fused["streams"]["temporal"][name])
    assert fused["logits"].shape == (2, 5)


def test_spatial_feature_is_the_mean_over_frames(initialised):
    module = models.create("two_stream_m3d", **SMALL)
    x = clips()
    variables = trained_spatial(initialised(module, x))
    apply = compiled(module, "spatial")
    # A clip that repeats one frame has the feature of that frame.
    frames = np.stack([apply(variables, jnp.repeat(x[:, t : t + 1], 4, axis=1))["feature"] for t in range(4)])
    np.testing.assert_allclose(apply(variables, x)["feature"], frames.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_without_temporal_stride_starts_as_the_spatial_stream_on_any_clip(initialised):
    module = models.create("two_stream_m3d", temporal_stride=False, **SMALL, **SAME_STRIDE)
    x = clips()
    variables = init_temporal_from_spatial(trained_spatial(initialised(module, x)))
    streams = compiled(module)(variables, x)["streams"]
    for name in ("feature", "logits"):
        np.testing.assert_allclose(streams["temporal"][name], streams["spatial"][name], rtol=1e-3, atol=1e-3)
    pooled = streams["spatial"]["pooled"].mean(1)
    np.testing.assert_allclose(streams["temporal"]["pooled"], pooled, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_with_temporal_stride_starts_as_the_spatial_stream_on_a_still_clip(initialised):
    module = models.create("two_stream_m3d", **SMALL, **SAME_STRIDE)
    moving = clips()
    still = jnp.repeat(moving[:, :1], 4, axis=1)
    variables = init_temporal_from_spatial(trained_spatial(initialised(module, moving)))
    apply = compiled(module)
    streams = apply(variables, still)["streams"]
    np.testing.assert_allclose(streams["temporal"]["feature"], streams["spatial"]["feature"], rtol=1e-3, atol=1e-3)
    streams = apply(variables, moving)["streams"]
    assert np.abs(streams["temporal"]["feature"] - streams["spatial"]["feature"]).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["i3d", "p3d_a"])
def test_comparison_networks_start_as_the_spatial_stream_on_a_still_clip(temporal, initialised):
    module = models.create("two_stream_m3d", temporal=temporal, **SMALL, **SAME_STRIDE)
    still = jnp.repeat(clips()[:, :1], 4, axis=1)
    variables = init_temporal_from_spatial(trained_spatial(initialised(module, still)))
    streams = compiled(module)(variables, still)["streams"]
    np.testing.assert_allclose(streams["temporal"]["feature"], streams["spatial"]["feature"], rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("temporal", ["p3d_b", "p3d_c", "separable"])
def test_every_kind_of_temporal_stream_starts_from_the_spatial_one(temporal):
    module = models.create("two_stream_m3d", temporal=temporal, **SMALL)
    before = drawn(module)
    params = init_temporal_from_spatial(before)["params"]
    spatial, new = params["spatial"]["backbone"], params["temporal"]["backbone"]
    old = before["params"]["temporal"]["backbone"]
    np.testing.assert_array_equal(new["layer2_0"]["conv2"]["kernel"], spatial["layer2_0"]["conv2"]["kernel"])
    np.testing.assert_array_equal(new["layer2_0"]["conv2_t"]["kernel"], old["layer2_0"]["conv2_t"]["kernel"])


def test_copy_leaves_temporal_kernels_and_shares_no_buffer():
    module = models.create("two_stream_m3d", **SMALL)
    before = drawn(module)
    after = init_temporal_from_spatial(before)
    old, new = before["params"]["temporal"], after["params"]["temporal"]
    jax.tree.map(np.testing.assert_array_equal, after["params"]["spatial"], before["params"]["spatial"])
    jax.tree.map(np.testing.assert_array_equal, new["head"], after["params"]["spatial"]["head"])
    for name in ("m3d", "attention1", "attention3"):
        jax.tree.map(np.testing.assert_array_equal, new["backbone"][name], old["backbone"][name])
    spatial = after["params"]["spatial"]["backbone"]["conv1"]["kernel"]
    assert new["backbone"]["conv1"]["kernel"].unsafe_buffer_pointer() != spatial.unsafe_buffer_pointer()


def test_copy_refuses_what_does_not_match():
    module = models.create("two_stream_m3d", **SMALL)
    variables = drawn(module)
    del variables["params"]["spatial"]["backbone"]["layer1_0"]["conv2"]
    with pytest.raises(InputError, match="unmatched: temporal/backbone/layer1_0/conv2/kernel"):
        init_temporal_from_spatial(variables)
    del variables["params"]["temporal"]["backbone"]["layer1_0"]["conv2"]
    del variables["params"]["temporal"]["head"]["classifier"]["bias"]
    with pytest.raises(InputError, match="unmatched: spatial/head/classifier/bias"):
        init_temporal_from_spatial(variables)


@pytest.mark.slow
def test_lstm_baseline_keeps_its_recurrent_tensors(initialised):
    module = models.create("two_stream_m3d", temporal="lstm", lstm_size=16, **SMALL)
    x = clips()
    before = trained_spatial(initialised(module, x))
    after = init_temporal_from_spatial(before)
    old, new = before["params"]["temporal"], after["params"]["temporal"]
    jax.tree.map(np.testing.assert_array_equal, new["lstm"], old["lstm"])
    np.testing.assert_array_equal(new["head"]["feature"]["kernel"], old["head"]["feature"]["kernel"])
    np.testing.assert_array_equal(
        new["head"]["classifier"]["kernel"], after["params"]["spatial"]["head"]["classifier"]["kernel"]
    )
    outputs = compiled(module, "temporal")
    forwards, backwards = (outputs(after, each)["feature"] for each in (x, x[:, ::-1]))
    assert np.abs(forwards - backwards).max() > 1e-4  # the order of frames counts


def test_dropout_and_batch_norm_follow_train(initialised):
    module = models.create("two_stream_m3d", **SMALL)
    x = clips()
    variables = initialised(module, x)

    @partial(jax.jit, compiler_options=QUICK)
    def step(key):
        return module.apply(variables, x, train=True, stream="spatial", rngs={"dropout": key}, mutable=["batch_stats"])

    (first, stats), (second, _) = step(jax.random.key(1)), step(jax.random.key(2))
    np.testing.assert_array_equal(first["feature"], second["feature"])
    assert np.abs(first["logits"] - second["logits"]).max() > 1e-3
    old, new = (s["spatial"]["head"]["bn"]["mean"] for s in (variables["batch_stats"], stats["batch_stats"]))
    np.testing.assert_allclose(new, 0.9 * old + 0.1 * first["feature"].mean(0), atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "call", "message"),
    [({}, {"stream": "time"}, "stream is 'time'"), ({"temporal": "x"}, {}, "no model 'resnet50_x'")],
)
def test_wrong_stream(fields, call, message):
    module = models.create("two_stream_m3d", **SMALL, **fields)
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda: module.init(jax.random.key(0), clips((1, 4, 32, 16, 3)), **call))


def test_the_temporal_stream_sees_means_of_squares_of_pixels():
    frames = jnp.arange(2 * 4 * 2.0).reshape(1, 2, 4, 2, 1)
    np.testing.assert_array_equal(downsample(frames, 2).ravel(), [1.5, 5.5, 9.5, 13.5])
    assert downsample(frames, 1) is frames
    with pytest.raises(InputError, match="temporal_downsample is 3, which does not divide frames of 4x2 pixels"):
        downsample(frames, 3)
    module = models.create("two_stream_m3d", **SMALL, temporal_downsample=2)
    shapes = {
        name: jax.eval_shape(lambda name=name: module.init_with_output(jax.random.key(0), clips(), stream=name)[0])[
            "stem"
        ].shape
        for name in ("spatial", "temporal")
    }
    assert [shape[2:4] for shape in shapes.values()] == [(32, 16), (16, 8)]


def parameters(name, **fields):
    module = models.create(name, **fields)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 8, 32, 16, 3)))["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("temporal", "fields", "megabytes"),
    [("i3d", {}, 90.6), ("p3d_a", {}, 15.2), ("p3d_b", {}, 15.1), ("p3d_c", {}, 15.2), ("m3d", {"ral": ""}, 4.8)],
)
def test_size_beyond_the_2d_network_is_that_of_table_1(temporal, fields, megabytes):
    beyond = parameters(f"resnet50_{temporal}", **fields) - parameters("resnet50")
    assert round(4 * beyond / 1e6, 1) == megabytes  # M3D: the paper has 4.2


def test_an_m3d_layer_in_every_bottleneck():
    fields = {"width": 8, "stage_sizes": (2, 1, 1, 1), "clip_length": 8, "temporal_scales": 2}
    module = models.create("resnet50_m3d", **fields, m3d_blocks="all", ral="")
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 8, 32, 16, 3)))["params"]
    layers = {
        name: sorted(part for part in shapes[name]["m3d"] if part.startswith("conv"))
        for name in shapes
        if "m3d" in shapes[name]
    }
    assert layers == {
        "layer1_0": ["conv1", "conv2"],
        "layer1_1": ["conv1", "conv2"],
        "layer2_0": ["conv1", "conv2"],
        "layer3_0": ["conv1", "conv2"],
        "layer4_0": ["conv1"],  # two frames are left
    }
    with pytest.raises(InputError, match="m3d_blocks is 'every'; it is one of first, all"):
        jax.eval_shape(
            models.create("resnet50_m3d", **fields, m3d_blocks="every").init,
            jax.random.key(0),
            jnp.zeros((1, 8, 32, 16, 3)),
        )


@pytest.mark.parametrize("temporal", ["m3d", "i3d", "p3d_a", "lstm", "flow"])
@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("ral", "xyz", "ral is 'xyz'; it is distinct letters out of"),
        ("ral", "ss", "ral is 'ss'"),
        ("m3d_init", "nonsense", "m3d_init is 'nonsense'; it is one of random, zero_sum"),
        ("m3d_blocks", "some", "m3d_blocks is 'some'; it is one of first, all"),
        ("temporal_scales", "log10", "temporal_scales is 'log10'; it is paper, log2 or a number from 1"),
        ("temporal_scales", 0, "temporal_scales is 0; it is paper"),
        ("temporal_scales", True, "temporal_scales is True; it must be text or a whole number"),
        ("temporal_last_stride", 3, "temporal_last_stride is 3; it is 1 or 2"),
        ("spatial_last_stride", 0, "spatial_last_stride is 0; it is 1 or 2"),
    ],
)
def test_a_value_that_can_never_be_is_refused_whatever_the_temporal_stream_reads(temporal, field, value, words):
    with pytest.raises(InputError, match=words):
        models.create("two_stream_m3d", temporal=temporal, **{field: value})


def test_a_network_on_flow_reads_stacks_and_starts_from_the_spatial_one():
    module = models.create("two_stream_m3d", temporal="flow", **SMALL)
    assert [models.inputs_of(module, {"stream": name}) for name in ("spatial", "temporal", None)] == [
        "frames",
        "flow",
        "both",
    ]
    rng = np.random.default_rng(0)
    both = clips((2, 4, 64, 32, 23))
    shapes = dict(jax.eval_shape(module.init, jax.random.key(0), both))
    before = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.5, 0.1, leaf.shape), jnp.float32), shapes)
    params = init_temporal_from_spatial(before)["params"]
    assert jax.tree.structure(params["temporal"]) == jax.tree.structure(params["spatial"])  # the same layers, no others
    spatial, temporal = (params[name]["backbone"] for name in ("spatial", "temporal"))
    mean = np.asarray(spatial["conv1"]["kernel"], np.float64).mean(2)
    assert temporal["conv1"]["kernel"].shape == (7, 7, 20, 8)
    for channel in (0, 13):
        np.testing.assert_allclose(temporal["conv1"]["kernel"][:, :, channel], mean, rtol=1e-5)
    np.testing.assert_array_equal(temporal["layer3_0"]["conv2"]["kernel"], spatial["layer3_0"]["conv2"]["kernel"])
    outputs = jax.eval_shape(module.apply, before, both)
    assert outputs["feature"].shape == (2, 256)
    assert jax.eval_shape(partial(module.apply, stream="temporal"), before, both[..., 3:])["pooled"].shape == (
        2,
        4,
        256,
    )
    with pytest.raises(InputError, match="stream temporal reads stacks of optical flow, 20 channels, and was given 3"):
        jax.eval_shape(partial(module.apply, stream="temporal"), before, both[..., :3])
