"""VGG-16: endpoints, means over frames, the average before fc6, and flow kernels; parity is in pretrained/parity_test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import models, pretrained
from vreid_jax.errors import InputError
from vreid_jax.models.backbones.vgg import average_to

QUICK = {"xla_backend_optimization_level": 0}
NARROW = {"width": 2, "hidden_size": 6}


def clips(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def shapes(size, **fields):
    module = models.create("vgg16", **fields)
    x = jax.ShapeDtypeStruct(size, jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    return {name: value.shape for name, value in jax.eval_shape(module.apply, variables, x).items()}


def test_endpoints_at_the_papers_size():
    found = shapes((2, 3, 224, 224, 20), channels=20, num_classes=5)
    assert found["conv1_2"] == (2, 3, 224, 224, 64)
    assert found["conv3_3"] == (2, 3, 56, 56, 256)
    assert found["conv5_3"] == (2, 3, 14, 14, 512)
    assert found["pool5"] == (2, 3, 7, 7, 512)
    assert found["fc6"] == found["fc7"] == (2, 3, 4096)
    assert found["pooled"] == (2, 512)
    assert found["feature"] == (2, 4096)
    assert found["logits"] == (2, 5)
    assert sum(name.startswith("conv") for name in found) == 13


@pytest.mark.slow
def test_features_are_means_over_frames():
    module, x = models.create("vgg16", num_classes=4, **NARROW), clips((2, 3, 32, 32, 3))
    variables = jax.jit(module.init, compiler_options=QUICK)(jax.random.key(0), x)
    apply = jax.jit(module.apply, compiler_options=QUICK)
    whole = apply(variables, x)
    for name in ("feature", "pooled", "logits"):
        alone = [apply(variables, jnp.repeat(x[:, t : t + 1], 3, 1))[name] for t in range(3)]
        np.testing.assert_allclose(whole[name], np.mean(alone, 0), rtol=1e-4, atol=1e-6)


def test_the_average_before_fc6_is_pytorchs():
    """Cells of `AdaptiveAvgPool2d(7)` for 8x4, written out: rows 0-1, 1-2, …, 6-7, and columns 0, 0-1, 1, 1-2, 2, 2-3, 3."""
    x = np.random.default_rng(0).standard_normal((1, 2, 8, 4, 3)).astype(np.float32)
    columns = [[0], [0, 1], [1], [1, 2], [2], [2, 3], [3]]
    found = np.asarray(average_to(jnp.asarray(x), 7))
    assert found.shape == (1, 2, 7, 7, 3)
    for i in range(7):
        for j, chosen in enumerate(columns):
            np.testing.assert_allclose(found[:, :, i, j], x[:, :, [i, i + 1]][:, :, :, chosen].mean((2, 3)), rtol=1e-5)
    same = jnp.ones((1, 1, 7, 7, 2))
    assert average_to(same, 7) is same


def test_wrong_channels_and_small_frames_are_one_sentence():
    with pytest.raises(InputError, match="reads stacks of optical flow, 20 channels, and was given 3"):
        shapes((1, 1, 64, 32, 3), channels=20)
    with pytest.raises(InputError, match="frames of 64x16 are too small for VGG-16; it needs 32x32"):
        shapes((1, 1, 64, 16, 3))
    with pytest.raises(InputError, match="channels is 4; it is 3, for pictures, or 20"):
        models.create("vgg16", channels=4)


def state_dict(normed=False):
    """A narrow state dict with torchvision's names."""
    rng = np.random.default_rng(0)
    sizes = [(2, 3), (2, 2), (4, 2), (4, 4), (8, 4), (8, 8), (8, 8), (16, 8)] + 5 * [(16, 16)]
    numbers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    if normed:
        numbers = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
    state = {}
    for number, (out, into) in zip(numbers, sizes, strict=True):
        state[f"features.{number}.weight"] = rng.standard_normal((out, into, 3, 3))
        state[f"features.{number}.bias"] = rng.standard_normal(out)
        if normed:
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                state[f"features.{number + 1}.{leaf}"] = rng.uniform(0.5, 1.5, out)
            state[f"features.{number + 1}.num_batches_tracked"] = np.int64(1)
    for number, size in ((0, (6, 16 * 49)), (3, (6, 6)), (6, (1000, 6))):
        state[f"classifier.{number}.weight"], state[f"classifier.{number}.bias"] = (
            rng.standard_normal(size),
            np.zeros(size[0]),
        )
    return {
        name: np.asarray(value, np.int64 if name.endswith("tracked") else np.float32) for name, value in state.items()
    }


def test_weights_on_colours_start_a_network_on_flow():
    state = state_dict()
    variables = pretrained.from_torch("vgg16", state, channels=20, **NARROW)["params"]
    kernel = np.asarray(variables["conv1_1"]["kernel"])
    assert kernel.shape == (3, 3, 20, 2)
    mean = state["features.0.weight"].astype(np.float64).mean(1)  # [2, 3, 3]
    for channel in (0, 7, 19):
        np.testing.assert_allclose(kernel[:, :, channel], mean.transpose(1, 2, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(variables["fc7"]["kernel"], state["classifier.3.weight"].T)
    assert "classifier" not in variables


def test_weights_of_the_network_with_batch_norm():
    state = state_dict(normed=True)
    variables = pretrained.from_torch("vgg16_bn", state, **NARROW)
    np.testing.assert_array_equal(variables["params"]["bn3_2"]["scale"], state["features.18.weight"])
    np.testing.assert_array_equal(variables["batch_stats"]["bn5_3"]["var"], state["features.41.running_var"])
    with pytest.raises(InputError, match=r"features\.3\.weight"):
        pretrained.from_torch("vgg16", state, **NARROW)
