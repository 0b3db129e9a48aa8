"""2-D weights in 3-D networks: what lands where, and networks that start as the 2-D one on a still clip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import models, pretrained
from vreid_jax.errors import InputError
from vreid_jax.models.layers.inflation import identity_in_time, inflate

# Machine code that is not optimised compiles several times faster; the sums are the same.
QUICK = {"xla_backend_optimization_level": 0}
FIELDS = {"width": 4, "stage_sizes": (1, 1, 1, 1)}
BLOCKS = {"non_local_after": {"res3": (0,), "res4": (0,)}}
STARTS_AS_2D = {
    "resnet3d_50": BLOCKS,
    "resnet50_i3d": {},
    "resnet50_separable": {"ral": "sct", "clip_length": 4, **BLOCKS},
    "resnet50_p3d_a": {},
    "resnet50_m3d": {"clip_length": 4, **BLOCKS},
    "resnet50": {"last_stride": 2, **BLOCKS},
}


def pooled(name, variables, clips, **fields):
    module = models.create(name, **FIELDS, **fields)
    return jax.jit(module.apply, compiler_options=QUICK)(variables, clips)["pooled"]


@pytest.mark.parametrize("inflation", ["mean", "center"])
def test_inflated_kernels_sum_to_the_kernel(inflation):
    kernel = np.random.default_rng(0).standard_normal((3, 3, 2, 5)).astype(np.float32)
    inflated = inflate(kernel, 5, inflation)
    np.testing.assert_allclose(inflated.sum(0), kernel, atol=1e-6)
    planes = [kernel / 5] * 5 if inflation == "mean" else [0 * kernel, 0 * kernel, kernel, 0 * kernel, 0 * kernel]
    np.testing.assert_allclose(inflated, planes, atol=1e-6)


def test_identity_in_time():
    kernel = np.asarray(identity_in_time(None, (3, 1, 1, 4, 4)))
    np.testing.assert_array_equal(kernel[1, 0, 0], np.eye(4))
    assert not kernel[[0, 2]].any()


@pytest.fixture(scope="module")
def on_a_still_clip(golden):
    """A still clip, and what the 2-D network makes of it."""
    rng = np.random.default_rng(1)
    still = jnp.asarray(np.repeat(rng.standard_normal((2, 1, 64, 32, 3)), 4, 1), jnp.float32)
    parent = pretrained.from_torch("resnet50", golden.narrow_resnet(), last_stride=2, **FIELDS)
    return still, pooled("resnet50", parent, still, last_stride=2)[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTS_AS_2D)
def test_by_center_equals_the_2d_network_on_a_still_clip(golden, on_a_still_clip, name):
    state, (still, expected) = golden.narrow_resnet(), on_a_still_clip
    variables = pretrained.from_torch(name, state, inflation="center", **FIELDS, **STARTS_AS_2D[name])
    found = pooled(name, variables, still, **STARTS_AS_2D[name])
    found = found.mean(1) if name == "resnet50" else found
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("letter", "bc")
def test_p3d_b_and_c_keep_random_temporal_kernels(golden, letter):
    state = golden.narrow_resnet()
    params = pretrained.from_torch(f"resnet50_p3d_{letter}", state, **FIELDS)["params"]
    kernel = np.asarray(params["layer4_0"]["conv2_t"]["kernel"])
    assert np.abs(kernel).min() > 0
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (3 * 32)), rtol=0.05)  # He, of three taps of 32 channels
    spatial = params["layer2_0"]["conv2"]["kernel"]
    np.testing.assert_array_equal(spatial, state["layer2.0.conv2.weight"].transpose(2, 3, 1, 0))


def test_mean_and_center_of_a_loaded_network(golden):
    state = golden.narrow_resnet()
    kernel = state["layer2.0.conv2.weight"].transpose(2, 3, 1, 0)
    stem = state["conv1.weight"].transpose(2, 3, 1, 0)
    mean = pretrained.from_torch("resnet50_i3d", state, **FIELDS)["params"]
    np.testing.assert_allclose(mean["layer2_0"]["conv2"]["kernel"], np.stack([kernel / 3] * 3), rtol=1e-6)
    np.testing.assert_allclose(mean["conv1"]["kernel"], np.stack([stem / 3] * 3), rtol=1e-6)
    center = pretrained.from_torch("resnet50_i3d", state, inflation="center", **FIELDS)["params"]
    np.testing.assert_array_equal(center["layer2_0"]["conv2"]["kernel"][1], kernel)
    assert not np.asarray(center["layer2_0"]["conv2"]["kernel"])[[0, 2]].any()
    # A separable pair has nothing to inflate: the identity, then the 2-D kernel.
    pair = pretrained.from_torch("resnet50_separable", state, **FIELDS)["params"]["layer2_0"]
    np.testing.assert_array_equal(pair["conv2"]["kernel"], kernel)
    halves = np.eye(8) / 2  # of a stage that strides time: the mean of the two frames that it merges
    np.testing.assert_array_equal(pair["conv2_t"]["kernel"][:, 0, 0], [0 * halves, halves, halves])


def test_an_unknown_inflation_is_named(golden):
    with pytest.raises(InputError, match="inflation is 'centre', expected one of mean, center"):
        pretrained.from_torch("resnet50_i3d", golden.narrow_resnet(), inflation="centre", **FIELDS)


def test_both_streams_of_the_two_stream_network_start_from_one_backbone(golden):
    state = golden.narrow_resnet()
    fields = {"temporal": "i3d", "clip_length": 4, **FIELDS}
    params = pretrained.from_torch("two_stream_m3d", state, inflation="center", **fields)["params"]
    kernel = state["layer1.0.conv2.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(params["spatial"]["backbone"]["layer1_0"]["conv2"]["kernel"], kernel)
    np.testing.assert_array_equal(params["temporal"]["backbone"]["layer1_0"]["conv2"]["kernel"][1], kernel)
    assert params["spatial"]["head"]["feature"]["kernel"].shape == (128, 128)


def hara_state(golden):
    """The names of Hara's network, with data parallelism's prefix."""
    state = golden.narrow_resnet()
    clips = {}
    for name, value in state.items():
        if value.ndim == 4:
            length = {7: 7, 3: 3, 1: 1}[value.shape[-1]]
            value = golden.fill(name, (*value.shape[:2], length, *value.shape[2:]))
        clips[f"module.{name}"] = value
    return {**clips, "module.fc.weight": np.zeros((400, 128), np.float32), "module.fc.bias": np.zeros(400, np.float32)}


def test_kinetics_weights_fit_with_and_without_prefix_and_beside_new_blocks(golden):
    state = hara_state(golden)
    bare = {name.removeprefix("module."): value for name, value in state.items()}
    variables = pretrained.from_torch("resnet3d_50", state, **FIELDS)
    jax.tree.map(np.testing.assert_array_equal, variables, pretrained.from_torch("resnet3d_50", bare, **FIELDS))
    np.testing.assert_array_equal(variables["params"]["conv1"]["kernel"], bare["conv1.weight"].transpose(2, 3, 4, 1, 0))
    blocks = pretrained.from_torch("resnet3d_50", state, **FIELDS, **BLOCKS)["params"]
    assert not np.asarray(blocks["non_local2_0"]["bn"]["scale"]).any()
    np.testing.assert_array_equal(blocks["conv1"]["kernel"], variables["params"]["conv1"]["kernel"])
    with pytest.raises(InputError, match=r"layer1.0.conv2.weight \(4, 4, 3, 3, 3\)"):
        pretrained.from_torch("resnet50_separable", state, **FIELDS)
