"""The M3D layer against Eq. 4-6 in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.models.layers.m3d import M3D, mean_of_pairs, num_scales


def layer_in_float64(s, variables, scales, stride, released):
    """Eq. 4 and 5, frame by frame; each T_i followed by its batch norm in evaluation mode."""
    s = np.asarray(s, np.float64)
    frames = s.shape[1]
    centres = range(0, frames, stride)
    y = np.stack([s[:, t : t + stride].mean(1) for t in centres], 1)
    for i in range(1, scales + 1):
        kernel = np.asarray(variables["params"][f"conv{i}"]["kernel"], np.float64)[:, 0, 0]
        norm = {k: np.asarray(v, np.float64) for k, v in variables["params"][f"bn{i}"].items()}
        stats = {k: np.asarray(v, np.float64) for k, v in variables["batch_stats"][f"bn{i}"].items()}
        for position, t in enumerate(centres):
            total = sum(s[:, t + a * i] @ kernel[a + 1] for a in (-1, 0, 1) if 0 <= t + a * i < frames)
            total = (total - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * norm["scale"] + norm["bias"]
            y[:, position] += np.maximum(total, 0) if released else total
    return y


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


@pytest.mark.parametrize(
    ("frames", "scales", "stride", "released"),
    [(8, 3, 1, False), (8, 3, 2, False), (8, 3, 2, True), (7, 3, 2, False), (4, 1, 2, False), (1, 1, 1, False)],
)
def test_is_equations_4_and_5(frames, scales, stride, released, xla_as_users_have_it):
    s = jnp.asarray(np.random.default_rng(0).standard_normal((2, frames, 3, 2, 5)), jnp.float32)
    module = M3D(scales, stride, released)
    variables = randomised(jax.eval_shape(module.init, jax.random.key(0), s))
    expected = layer_in_float64(s, variables, scales, stride, released)
    np.testing.assert_allclose(module.apply(variables, s), expected, atol=1e-5)
    np.testing.assert_allclose(
        jax.jit(module.apply, compiler_options=xla_as_users_have_it)(variables, s), expected, atol=1e-5
    )


@pytest.mark.parametrize("train", [False, True])
def test_starts_as_the_identity_with_random_kernels(train):
    s = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 3, 2, 5)), jnp.float32)
    variables = M3D(3).init(jax.random.key(0), s)
    assert all(np.abs(variables["params"][f"conv{i}"]["kernel"]).min() > 0 for i in (1, 2, 3))
    out, _ = M3D(3).apply(variables, s, train, mutable=["batch_stats"])
    np.testing.assert_array_equal(out, s)


def test_number_of_scales():
    assert [num_scales(t, "paper") for t in (1, 2, 4, 8, 16)] == [1, 1, 1, 3, 7]  # Eq. 6, at least 1
    assert [num_scales(t, "log2") for t in (1, 2, 4, 8, 16)] == [1, 1, 2, 3, 4]
    assert [num_scales(t, 2) for t in (1, 2, 4, 8)] == [1, 1, 2, 2]
    for wrong in ("papers", 0, True):
        with pytest.raises(InputError, match="temporal_scales"):
            num_scales(8, wrong)


def test_mean_of_pairs():
    x = jnp.arange(5.0).reshape(1, 5, 1, 1, 1)
    np.testing.assert_array_equal(mean_of_pairs(x).ravel(), [0.5, 2.5, 4.0])
    np.testing.assert_array_equal(mean_of_pairs(x[:, :4]).ravel(), [0.5, 2.5])


@pytest.mark.parametrize("stride", [1, 2])
def test_the_initial_scale_is_how_much_the_temporal_kernels_add_at_first(stride):
    s = jnp.asarray(np.random.default_rng(2).standard_normal((2, 8, 3, 2, 5)), jnp.float32)
    start, half, whole = (
        M3D(3, stride, initial_scale=scale).init_with_output(jax.random.key(3), s)[0] for scale in (0.0, 0.5, 1.0)
    )
    np.testing.assert_allclose(start, s if stride == 1 else mean_of_pairs(s), atol=1e-6)
    np.testing.assert_allclose(half - start, 0.5 * (whole - start), atol=1e-5)
    assert np.abs(whole - start).max() > 0.1


def test_taps_that_sum_to_zero_leave_a_still_clip_alone_away_from_its_ends():
    moving = jnp.asarray(np.random.default_rng(4).standard_normal((2, 8, 3, 2, 5)), jnp.float32)
    still = jnp.broadcast_to(moving[:, :1], moving.shape)
    module = M3D(2, initial_scale=1.0, initial_kernel="zero_sum")
    variables = module.init(jax.random.key(5), moving)
    kernel = np.asarray(variables["params"]["conv1"]["kernel"])
    np.testing.assert_allclose(kernel.sum(0), 0, atol=1e-6)
    assert np.abs(kernel).min() > 0
    np.testing.assert_allclose(module.apply(variables, still)[:, 2:-2], still[:, 2:-2], atol=1e-5)
    assert np.abs(module.apply(variables, moving) - moving).max() > 0.1
    with pytest.raises(InputError, match="m3d_init is 'zero'"):
        M3D(2, initial_kernel="zero").init(jax.random.key(0), moving)
