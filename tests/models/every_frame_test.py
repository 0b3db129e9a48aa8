"""Networks over clips start in a state in which every frame of a clip counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import models, pretrained
from vreid_jax.config import from_file
from vreid_jax.models.layers.bottleneck import Bottleneck

# Machine code that is not optimised compiles several times faster; the sums are the same.
QUICK = {"xla_backend_optimization_level": 0}
FIELDS = {"width": 4, "stage_sizes": (1, 1, 1, 1)}
UNSTRIDED = {"temporal_strides": (1, 1, 1, 1, 1, 1)}
BLOCKS = {"non_local_after": {"res3": (0,), "res4": (0,)}}


def clips(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def shares(initialised, **fields):
    """The share of each frame in the sum of |d pooled / d frame|, of a fresh network."""
    module = models.create("nonlocal3d", **{"stem_length": 3, "non_local": False, **FIELDS, **fields})
    x = clips((2, 8, 32, 16, 3))
    variables = initialised(module, x)
    readout = clips(jax.eval_shape(module.apply, variables, x)["pooled"].shape, seed=1)
    gradient = jax.jit(
        jax.grad(lambda x: (module.apply(variables, x)["pooled"] * readout).sum()), compiler_options=QUICK
    )
    sizes = np.linalg.norm(np.asarray(gradient(x)).transpose(1, 0, 2, 3, 4).reshape(8, -1), axis=1)
    return sizes / sizes.sum()


def test_every_frame_has_at_least_half_of_an_even_share_of_the_gradient(initialised):
    assert shares(initialised).min() > 0.5 / 8


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{"network": "inflated"}, {"network": "inflated", **UNSTRIDED}, UNSTRIDED])
def test_every_frame_counts_in_the_other_networks(initialised, fields):
    assert shares(initialised, **fields).min() > 0.5 / 8


@pytest.mark.slow
def test_a_network_that_subsamples_starts_blind_to_half_of_its_frames(initialised):
    found = shares(initialised, temporal_shortcut="subsample", temporal_pool=True)
    assert found[:3].sum() > 0.99


def test_every_frame_of_the_clips_of_a_tracklet_counts_in_its_one_vector(initialised):
    config = from_file("person_vlad").model  # as it is trained on walkers, but narrower
    narrow = {"width": 4, "hidden_size": 16, "feature_size": 8, "num_clusters": 4}
    module, x = models.create(**{**config, **narrow}), clips((1, 24, 64, 32, 3), seed=1)
    variables = initialised(module, x)
    readout = clips(jax.eval_shape(module.apply, variables, x)["feature"].shape, seed=9)
    gradient = jax.jit(
        jax.grad(lambda x: (module.apply(variables, x)["feature"] * readout).sum()), compiler_options=QUICK
    )
    sizes = np.linalg.norm(np.asarray(gradient(x))[0].reshape(3, 8, -1), axis=2)
    assert (sizes / sizes.sum(1, keepdims=True)).min() > 0.5 / 8  # of its clip
    assert (sizes.sum(1) / sizes.sum()).min() > 0.2 / 3  # a clip's part depends on what shares its cells


@pytest.mark.slow
def test_by_center_the_unstrided_network_equals_the_averaged_2d_one_on_a_moving_clip(golden):
    state, moving = golden.narrow_resnet(), clips((2, 4, 32, 16, 3))

    def pooled(name, **fields):
        variables = pretrained.from_torch(name, state, inflation="center", **FIELDS, **fields)
        module = models.create(name, **FIELDS, **fields)
        return jax.jit(module.apply, compiler_options=QUICK)(variables, moving)["feature"]

    expected = pooled("resnet50", last_stride=2)
    found = pooled("resnet50_separable", stem_length=1, last_stride=2, **UNSTRIDED, **BLOCKS)
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_a_fresh_strided_block_merges_pairs_of_frames(initialised):
    # Where the frames of a pair are alike, merging them is the 2-D block of either; the last of five stays alone.
    half = clips((2, 3, 6, 4, 12))
    x = jnp.repeat(half, 2, axis=1)[:, :5]
    strided = Bottleneck(3, "separable", 2, 2, temporal_shortcut="mean", project=True)
    variables = initialised(strided, x)
    plain = {c: {k: v for k, v in tree.items() if k != "conv2_t"} for c, tree in variables.items()}

    @functools.partial(jax.jit, compiler_options=QUICK)
    def both(x, half):
        y, backward = jax.vjp(lambda x: strided.apply(variables, x), x)
        return y, backward(y)[0], Bottleneck(3, "2d", 2, project=True).apply(plain, half)

    found, gradient, expected = both(x, half)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(gradient[:, 0], gradient[:, 1], atol=1e-5)
