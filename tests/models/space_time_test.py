"""The kinds of convolution over clips, in stem and bottleneck, against their definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.models.layers.bottleneck import Bottleneck
from vreid_jax.models.layers.space_time import KINDS

# Machine code that is not optimised compiles several times faster; the sums are the same.
QUICK = {"xla_backend_optimization_level": 0}
PLAIN = [kind for kind in KINDS if kind != "m3d"]


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


class Reference:
    """A bottleneck in float64 out of the same variables."""

    def __init__(self, variables):
        self.params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
        self.stats = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["batch_stats"])

    def conv(self, name, x, strides=(1, 1, 1)):
        """A sum over the taps of an odd kernel, zeros around the clip."""
        kernel = self.params[name]["kernel"]
        kernel = kernel[None] if kernel.ndim == 4 else kernel
        half = [size // 2 for size in kernel.shape[:3]]
        padded = np.pad(x, ((0, 0), *((h, h) for h in half), (0, 0)))
        total = 0
        for tap in np.ndindex(kernel.shape[:3]):
            shifted = padded[:, *(slice(a, a + n) for a, n in zip(tap, x.shape[1:4], strict=True))]
            total = total + shifted[:, *(slice(None, None, s) for s in strides)] @ kernel[tap]
        return total

    def norm(self, name, x):
        p, s = self.params[name], self.stats[name]
        return (x - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"]

    def relu_bn_conv(self, number, x, strides):
        return np.maximum(self.norm(f"bn{number}", self.conv(f"conv{number}", x, strides)), 0)

    def middle(self, kind, x, s, t):
        if kind == "2d":
            return self.relu_bn_conv("2", x, (1, s, s))
        if kind == "inflated":
            return self.relu_bn_conv("2", x, (t, s, s))
        if kind == "separable":
            return self.relu_bn_conv("2", self.conv("conv2_t", x, (t, 1, 1)), (1, s, s))
        if kind == "p3d_a":
            return self.relu_bn_conv("2_t", self.relu_bn_conv("2", x, (1, s, s)), (t, 1, 1))
        if kind == "p3d_b":
            return self.relu_bn_conv("2", x, (t, s, s)) + self.relu_bn_conv("2_t", x, (t, s, s))
        y = self.relu_bn_conv("2", x, (1, s, s))
        means = np.stack([y[:, i : i + t].mean(1) for i in range(0, y.shape[1], t)], 1)
        return means + self.relu_bn_conv("2_t", y, (t, 1, 1))

    def bottleneck(self, kind, x, s, t, merge="subsample"):
        y = self.middle(kind, self.relu_bn_conv("1", x, (1, 1, 1)), s, t)
        y = self.norm("bn3", self.conv("conv3", y))
        shortcut = self.norm("downsample_bn", self.conv("downsample_conv", x, (1 if merge == "mean" else t, s, s)))
        if merge == "mean":
            shortcut = np.stack([shortcut[:, i : i + t].mean(1) for i in range(0, shortcut.shape[1], t)], 1)
        return np.maximum(y + shortcut, 0)


@pytest.mark.parametrize(("stride", "temporal_stride"), [(1, 1), (2, 2)])
@pytest.mark.parametrize("kind", PLAIN)
def test_is_its_definition(kind, stride, temporal_stride, xla_as_users_have_it):
    temporal_stride = 1 if kind == "2d" else temporal_stride
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 6, 5, 4)), jnp.float32)
    block = Bottleneck(3, kind, stride, temporal_stride, project=True)
    variables = randomised(jax.eval_shape(block.init, jax.random.key(0), x))
    expected = Reference(variables).bottleneck(kind, np.asarray(x, np.float64), stride, temporal_stride)
    for apply in (block.apply, jax.jit(block.apply, compiler_options=xla_as_users_have_it)):
        np.testing.assert_allclose(apply(variables, x), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["inflated", "separable"])
def test_the_shortcut_is_the_mean_of_the_frames_that_it_merges(kind):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 6, 5, 4)), jnp.float32)
    block = Bottleneck(3, kind, 2, 2, temporal_shortcut="mean", project=True)
    variables = randomised(jax.eval_shape(block.init, jax.random.key(0), x))
    expected = Reference(variables).bottleneck(kind, np.asarray(x, np.float64), 2, 2, "mean")
    found = jax.jit(block.apply, compiler_options=QUICK)(variables, x)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in ("p3d_b", "p3d_c") else kind for kind in PLAIN]
)
def test_every_tensor_of_a_bottleneck_gets_a_gradient_within_three_steps(kind):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 6, 5, 4)), jnp.float32)
    block = Bottleneck(3, kind, 2, 1 if kind == "2d" else 2, project=True)
    variables = jax.jit(block.init, compiler_options=QUICK)(jax.random.key(0), x)
    readout = np.random.default_rng(1).standard_normal(jax.eval_shape(block.apply, variables, x).shape)

    def loss(params, batch_stats):
        y, changed = block.apply({"params": params, "batch_stats": batch_stats}, x, True, mutable=["batch_stats"])
        return (y * readout.astype(np.float32)).mean(), changed["batch_stats"]

    step = jax.jit(jax.grad(loss, has_aux=True), compiler_options=QUICK)
    params, batch_stats = variables["params"], variables["batch_stats"]
    largest = jax.tree.map(lambda leaf: 0.0, params)
    for _ in range(3):
        gradients, batch_stats = step(params, batch_stats)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
        sizes = jax.tree.map(lambda p, g: float(np.abs(g).max() / (np.abs(p).max() or 1.0)), params, gradients)
        largest = jax.tree.map(max, largest, sizes)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)
    assert min(jax.tree.leaves(largest)) > 1e-6, largest
