"""C3D: its endpoints, its pools, and the weights of Sports-1M in it."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from vreid_jax import models, pretrained
from vreid_jax.errors import InputError
from vreid_jax.models.backbones import c3d
from vreid_jax.models.backbones.c3d import C3D, FIVE
from vreid_jax.models.ops.pool import max_pool_blocks


def shapes(name, size, **fields):
    module = models.create(name, **fields)
    clips = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), clips)
    return {k: v.shape for k, v in jax.eval_shape(module.apply, variables, clips).items()}


def test_endpoints_at_the_papers_size():
    found = shapes("c3d", (16, 180, 90))
    convolutions = {"conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b"}
    assert set(found) == convolutions | {f"pool{number}" for number in range(1, 6)} | {"pooled", "feature"}
    assert found["conv1"] == (2, 16, 180, 90, 64)
    assert found["pool1"] == (2, 16, 90, 45, 64)
    assert found["conv4b"] == (2, 4, 22, 11, 512)
    assert found["conv5b"] == (2, 2, 11, 5, 512)
    assert found["pool5"] == (2, 1, 6, 3, 512)  # padded by one in height and width
    assert found["pooled"] == found["feature"] == (2, 512)


def test_the_five_convolutions_of_the_text():
    found = shapes("c3d_small", (16, 180, 90))
    features = [found[name][-1] for name in ("conv1", "conv2", "conv3b", "conv4b", "conv5b")]
    assert features == [64, 128, 256, 256, 256]
    assert found["pool5"] == (2, 1, 5, 2, 256)


def test_short_clips_keep_conv5b_and_shorter_ones_are_refused():
    found = shapes("c3d", (8, 32, 16), width=2)
    assert found["conv5b"] == (2, 1, 2, 1, 16)
    assert "pool5" not in found
    with pytest.raises(InputError, match="clips of 4 frames of 32x16 are too small for C3D; it needs 8 frames"):
        shapes("c3d", (4, 32, 16), width=2)


def test_fully_connected_layers_are_for_clips_of_the_released_size():
    found = shapes("c3d", (16, 112, 112), width=2, fully_connected=True, hidden_size=6)
    assert found["pool5"] == (2, 1, 4, 4, 16)
    assert found["fc6"] == found["fc7"] == found["feature"] == found["dropped"] == (2, 6)
    module = models.create("c3d", width=2, fully_connected=True, hidden_size=6)
    for size in ((16, 180, 90), (8, 112, 112)):
        clips = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
        variables = jax.eval_shape(module.init, jax.random.key(0), clips)
        assert variables["params"]["fc6"]["kernel"].shape == (256, 6)
        with pytest.raises(InputError, match=r"read 16 frames of 112x112: set clip_length, data\.height and"):
            jax.eval_shape(module.apply, variables, clips)


def test_fully_connected_layers_belong_to_the_eight_convolutions():
    """Five leave 3x3 positions of 112x112 pixels, and fc6 of no published weights fits them."""
    small = C3D(FIVE, 2, fully_connected=True)
    with pytest.raises(InputError, match="fully_connected is True, but only C3D of eight convolutions has fc6 and fc7"):
        jax.eval_shape(small.init, jax.random.key(0), jax.ShapeDtypeStruct((2, 16, 112, 112, 3), jnp.float32))


def test_dropout_behind_fc7_is_for_the_classifier_and_not_for_the_feature(initialised, monkeypatch):
    monkeypatch.setattr(c3d, "FC6_INPUT", (1, 2, 2))  # of small frames
    monkeypatch.setattr(c3d, "Conv", lambda features, *_, name, **__: nn.Dense(features, name=name))
    module = models.create("c3d", width=1, fully_connected=True, hidden_size=200)
    clips = jnp.asarray(np.random.default_rng(0).standard_normal((1, 16, 32, 32, 3)), jnp.float32)
    variables = initialised(module, clips)
    apply = functools.partial(module.apply, train=True, rngs={"dropout": jax.random.key(1)})
    outputs = jax.jit(apply, compiler_options={"xla_backend_optimization_level": 0})(variables, clips)
    fc7, dropped = (np.asarray(outputs[name]) for name in ("fc7", "dropped"))
    np.testing.assert_array_equal(outputs["feature"], fc7)
    seen = dropped != 0
    np.testing.assert_array_equal(dropped[seen], 2 * fc7[seen])
    assert 0.3 < seen.sum() / (fc7 > 0).sum() < 0.7


def test_pool5_takes_the_border_for_less_than_everything(initialised):
    module = models.create("c3d", width=2)
    clips = jnp.asarray(np.random.default_rng(0).standard_normal((1, 16, 48, 48, 3)), jnp.float32)
    outputs = module.apply(initialised(module, clips), clips)
    conv = np.asarray(outputs["conv5b"])  # 2x3x3, of which padding makes 5x5, and blocks of two 2x2
    assert conv.shape[1:4] == (2, 3, 3)
    for i, rows in enumerate(([0], [1, 2])):
        for j, columns in enumerate(([0], [1, 2])):
            expected = conv[0][:, rows][:, :, columns].max((0, 1, 2))
            np.testing.assert_array_equal(outputs["pool5"][0, 0, i, j], expected)


@pytest.mark.parametrize("block", [(1, 2, 2), (2, 2, 2)])
def test_pool_equals_the_native_one(block):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 7, 6, 3)), jnp.float32)

    def native(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *block, 1), (1, *block, 1), "VALID")

    np.testing.assert_array_equal(max_pool_blocks(x, block), native(x))
    own, other = (
        jax.grad(lambda x, pool=pool: (pool(x) ** 2).sum())(x) for pool in (lambda x: max_pool_blocks(x, block), native)
    )
    np.testing.assert_array_equal(own, other)


def state_dict(width):
    """Narrow weights under the names of the Sports-1M network, its fully connected layers included."""
    rng = np.random.default_rng(0)
    sizes = {"conv1": (width, 3), "conv2": (2 * width, width)}
    sizes |= {"conv3a": (4 * width, 2 * width), "conv3b": (4 * width, 4 * width), "conv4a": (8 * width, 4 * width)}
    sizes |= {name: (8 * width, 8 * width) for name in ("conv4b", "conv5a", "conv5b")}
    state = {f"{name}.weight": rng.standard_normal((*size, 3, 3, 3)) for name, size in sizes.items()}
    state |= {f"{name}.bias": rng.standard_normal(size[0]) for name, size in sizes.items()}
    for name in ("fc6", "fc7", "fc8"):
        state |= {f"{name}.weight": np.zeros((4, 4)), f"{name}.bias": np.zeros(4)}
    return {name: np.float32(value) for name, value in state.items()}


def test_sports1m_names_land_and_fully_connected_layers_stay_out(caplog):
    state = state_dict(2)
    with caplog.at_level("INFO", logger="absl"):
        variables = pretrained.from_torch("c3d", state, width=2)
    np.testing.assert_array_equal(
        variables["params"]["conv4a"]["kernel"][0, 1, 2, 3, 5], state["conv4a.weight"][5, 3, 0, 1, 2]
    )
    np.testing.assert_array_equal(variables["params"]["conv4a"]["bias"], state["conv4a.bias"])
    (line,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert "6 tensors of heads: fc6.weight" in line
    with pytest.raises(InputError, match=r"conv6\.weight"):
        pretrained.from_torch("c3d", state | {"conv6.weight": state["conv1.weight"]}, width=2)


def test_mmaction2s_names_land_too():
    state = state_dict(2)
    theirs = {
        re.sub(r"^(conv[12])\.", r"\1a.conv.", re.sub(r"^(conv\d[ab])\.", r"\1.conv.", name)): value
        for name, value in state.items()
    }
    assert {"conv1a.conv.weight", "conv2a.conv.bias", "conv5b.conv.weight"} <= set(theirs)
    ours, found = (pretrained.from_torch("c3d", tensors, width=2) for tensors in (state, theirs))
    jax.tree.map(np.testing.assert_array_equal, found, ours)
    connected = {f"{name}.{leaf}": np.ones(shape, np.float32) for name, shapes in (("fc6", ((3, 256), (3,))), ("fc7", ((3, 3), (3,)))) for leaf, shape in zip(("weight", "bias"), shapes, strict=True)}  # fmt: skip
    found = pretrained.from_torch("c3d", theirs | connected, width=2, fully_connected=True, hidden_size=3)["params"]
    assert found["fc6"]["kernel"].shape == (256, 3)  # 16 channels of 1x4x4 positions


@pytest.mark.slow
def test_first_convolution_is_the_sum_written_out(xla_as_users_have_it):
    state = state_dict(2)
    variables = pretrained.from_torch("c3d", state, width=2)
    clips = np.random.default_rng(1).standard_normal((1, 8, 16, 16, 3)).astype(np.float32)
    module = models.create("c3d", width=2)
    outputs = module.apply(variables, clips)
    padded = np.pad(clips[0].astype(np.float64), ((1, 1), (1, 1), (1, 1), (0, 0)))
    at = (0, 7, 15)  # an edge in time and in width
    window = padded[at[0] : at[0] + 3, at[1] : at[1] + 3, at[2] : at[2] + 3]
    expected = np.einsum("dhwi,oidhw->o", window, state["conv1.weight"].astype(np.float64)) + state["conv1.bias"]
    np.testing.assert_allclose(outputs["conv1"][(0, *at)], np.maximum(expected, 0), rtol=1e-5)
    np.testing.assert_allclose(outputs["pooled"], outputs["conv5b"].mean((1, 2, 3)), rtol=1e-5)
    jitted = jax.jit(module.apply, compiler_options=xla_as_users_have_it)(variables, clips)
    for name, eager in outputs.items():
        np.testing.assert_allclose(
            jitted[name], eager, rtol=1e-4, atol=1e-5 * float(jnp.abs(eager).max()), err_msg=name
        )
