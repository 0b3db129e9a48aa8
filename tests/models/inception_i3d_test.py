"""I3D: TensorFlow's padding, pooling by slices, the sizes of the endpoints; its values are in parity_test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vreid_jax import models, pretrained
from vreid_jax.models.layers.same_padding import max_pool_same, same_padding


def test_padding_worked_by_hand():
    # 7 wide at stride 2: 16 → 8 outputs need 21, 5 more; 65 → 33 need 71, 6 more; 4 → 2 need 9, 5 more.
    assert same_padding((16, 65, 4), (7, 7, 7), (2, 2, 2)) == ((2, 3), (3, 3), (2, 3))
    # 3 at stride 1 is symmetric; 2 at stride 2 pads odd extents at the end only.
    assert same_padding((5, 4, 5), (3, 2, 2), (1, 2, 2)) == ((1, 1), (0, 0), (0, 1))
    assert same_padding((1, 1, 1), (2, 1, 3), (2, 2, 2)) == ((0, 1), (0, 0), (1, 1))


@pytest.mark.parametrize(
    ("window", "strides"),
    [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2)), ((3, 3, 3), (1, 1, 1))],
)
def test_pooling_equals_the_native_one_and_its_gradient(window, strides):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 7, 4, 3)), jnp.float32)

    def native(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), "SAME")

    np.testing.assert_array_equal(max_pool_same(x, window, strides), native(x))
    weights = jnp.asarray(np.random.default_rng(1).standard_normal(native(x).shape), jnp.float32)
    ours, theirs = (
        jax.grad(lambda x, f=f: (f(x) * weights).sum())(x)
        for f in (lambda x: max_pool_same(x, window, strides), native)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((1, 4, 64, 32), {"Conv3d_1a_7x7": (2, 32, 16, 8), "Mixed_3c": (2, 8, 4, 60), "Mixed_4f": (1, 4, 2, 104), "Mixed_5c": (1, 2, 1, 128)}),
        pytest.param((2, 9, 33, 17), {"Conv3d_1a_7x7": (5, 17, 9, 8), "Mixed_3c": (5, 5, 3, 60), "Mixed_4f": (3, 3, 2, 104), "Mixed_5c": (2, 2, 1, 128)}, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_sizes_of_endpoints(shape, sizes):
    module = models.create("i3d_inception_v1", width=8)
    outputs = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros((*shape, 3)))[0])
    for name, size in sizes.items():
        assert outputs[name].shape[1:] == size
    assert outputs["pooled"].shape == outputs["feature"].shape == (shape[0], 128)
    assert outputs["pooled"].dtype == jnp.float32


@pytest.mark.slow
def test_original_names_fill_every_tensor():
    rng = np.random.default_rng(0)
    module = models.create("i3d_inception_v1", width=8)
    target = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 4, 32, 16, 3))))
    state = {}
    for block, parts in target["params"].items():
        units = {block: parts} if "bn" in parts else {f"{block}.{name}": unit for name, unit in parts.items()}
        for name, unit in units.items():
            kernel = unit["conv3d"]["kernel"].shape
            extents = (1, 1, 1) if len(kernel) == 4 else kernel[:3]
            state[f"{name}.conv3d.weight"] = rng.standard_normal((kernel[-1], kernel[-2], *extents)).astype(np.float32)
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                state[f"{name}.bn.{leaf}"] = rng.uniform(0.5, 1.5, kernel[-1]).astype(np.float32)
    state["logits.conv3d.weight"] = np.zeros((400, 128, 1, 1, 1), np.float32)
    variables = pretrained.from_torch("i3d_inception_v1", state, width=8)
    assert jax.tree.map(np.shape, variables) == jax.tree.map(lambda x: x.shape, target)
    cube = variables["params"]["Mixed_4b"]["b1b"]["conv3d"]["kernel"]
    np.testing.assert_array_equal(cube[0, 1, 2, 3, 4], state["Mixed_4b.b1b.conv3d.weight"][4, 3, 0, 1, 2])
    system = pretrained.from_torch("clip_similarity", state, width=8, hidden=(4, 4))
    jax.tree.map(np.testing.assert_array_equal, system["params"]["features"], variables["params"])
    assert set(system["params"]) == {"features", "aggregation", "projection"}
    point = variables["params"]["Conv3d_2b_1x1"]["conv3d"]["kernel"]
    np.testing.assert_array_equal(point[0, 0], state["Conv3d_2b_1x1.conv3d.weight"][:, :, 0, 0, 0].T)
