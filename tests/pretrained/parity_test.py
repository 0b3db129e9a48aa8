"""Equality with the outputs of the original PyTorch code."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from vreid_jax import models, pretrained

_spec = importlib.util.spec_from_file_location("golden_state", Path(__file__).parents[1] / "golden" / "golden_state.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)


def relative(actual, expected):
    return np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max()


def mean_hw(x):
    """[N, T, H, W, C] → [N T, C], as the vectors have it."""
    return np.asarray(x).mean((2, 3)).reshape(-1, x.shape[-1])


@pytest.mark.slow
@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
def test_m3d_with_attention_as_released(jit):
    state = golden.state_dict("m3d_resnet50_attention")
    expected = golden.vectors("m3d_resnet50_attention")
    fields = {"released": True, "ral": "sct", "clip_length": 8}
    variables = pretrained.from_torch("resnet50_m3d", state, **fields)
    module = models.create("resnet50_m3d", **fields)
    clips = golden.clip(expected["0/input_shape"], 0).transpose(0, 1, 3, 4, 2)
    apply = jax.jit(module.apply) if jit else module.apply
    outputs = apply(variables, clips)
    feature = np.asarray(outputs["pooled"]) @ state["feat.weight"].T + state["feat.bias"]
    assert relative(mean_hw(outputs["res2"]), expected["0/layer1.mean_hw"]) < 1e-4
    assert relative(mean_hw(outputs["res4"]), expected["0/layer3.mean_hw"]) < 1e-4
    assert relative(outputs["pooled"], expected["0/pooled"]) < 1e-4
    assert relative(feature, expected["0/feat"]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
def test_resnet50(jit):
    expected = golden.vectors("resnet50_2d")
    variables = pretrained.from_torch("resnet50", golden.state_dict("resnet50_2d"))
    module = models.create("resnet50")
    clips = golden.clip(expected["0/input_shape"], 0).transpose(0, 2, 3, 1)[:, None]
    apply = jax.jit(module.apply) if jit else module.apply
    outputs = apply(variables, clips)
    assert relative(outputs["pooled"][:, 0], expected["0/pooled"]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
def test_c3d(jit):
    expected = golden.vectors("c3d")
    variables = pretrained.from_torch("c3d", golden.state_dict("c3d"))
    module = models.create("c3d")
    apply = jax.jit(module.apply) if jit else module.apply
    for number in range(2):
        clips = golden.clip(expected[f"{number}/input_shape"], number).transpose(0, 2, 3, 4, 1)
        found = np.asarray(apply(variables, clips)["conv5b"]).mean((2, 3)).transpose(0, 2, 1)
        assert relative(found, expected[f"{number}/conv5b.mean_hw"]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
@pytest.mark.parametrize(("number", "connected"), [(0, True), (1, False)], ids=["fc7", "a person's size"])
def test_c3d_as_released(number, connected, jit):
    """With mmaction2's names, the padded pool5, and for 112x112 the fully connected layers."""
    expected = golden.vectors("c3d_sports1m")
    variables = pretrained.from_torch("c3d", golden.state_dict("c3d_sports1m"), fully_connected=connected)
    module = models.create("c3d", fully_connected=connected)
    clips = golden.clip(expected[f"{number}/input_shape"], number).transpose(0, 2, 3, 4, 1)
    outputs = (jax.jit(module.apply) if jit else module.apply)(variables, clips)
    assert relative(np.asarray(outputs["conv5b"]).mean((1, 2, 3)), expected[f"{number}/conv5b.mean_thw"]) < 1e-4
    assert relative(np.asarray(outputs["pool5"]).transpose(0, 4, 1, 2, 3), expected[f"{number}/pool5"]) < 1e-4
    assert {f"{number}/fc6", f"{number}/fc7"} <= set(expected) or not connected
    for name in ("fc6", "fc7", "feature") if connected else ():
        assert relative(outputs[name], expected[f"{number}/{name.replace('feature', 'fc7')}"]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_i3d_inception_v1(jit, number):
    """The original's own sizes, a person's, and odd ones, where SAME padding is uneven."""
    expected = golden.vectors("i3d_inception_v1")
    variables = pretrained.from_torch("i3d_inception_v1", golden.state_dict("i3d_inception_v1"))
    module = models.create("i3d_inception_v1")
    clips = golden.clip(expected[f"{number}/input_shape"], number).transpose(0, 2, 3, 4, 1)
    apply = jax.jit(module.apply) if jit else module.apply
    outputs = apply(variables, clips)
    for name in ("Conv3d_1a_7x7", "Mixed_3c", "Mixed_4f"):
        found = np.asarray(outputs[name]).mean((2, 3)).transpose(0, 2, 1)
        assert relative(found, expected[f"{number}/{name}.mean_tc"]) < 1e-4
    assert relative(outputs["pooled"], expected[f"{number}/pooled"]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
@pytest.mark.parametrize(("name", "channels", "numbers"), [("vgg16", 3, (0, 1)), ("vgg16_flow", 20, (0,))])
def test_vgg16(name, channels, numbers, jit):
    expected = golden.vectors(name)
    variables = pretrained.from_torch("vgg16", golden.state_dict(name), channels=channels)
    module = models.create("vgg16", channels=channels)
    apply = jax.jit(module.apply) if jit else module.apply
    for number in numbers:
        clips = golden.clip(expected[f"{number}/input_shape"], number).transpose(0, 2, 3, 1)[:, None]
        outputs = apply(variables, clips)
        assert relative(mean_hw(outputs["conv5_3"]), expected[f"{number}/conv5_3"]) < 2e-6
        assert relative(outputs["pooled"], expected[f"{number}/pool5.mean_hw"]) < 2e-6
        for layer in ("fc6", "fc7"):  # of 224x224
            if f"{number}/{layer}" in expected:
                assert relative(outputs[layer][:, 0], expected[f"{number}/{layer}"]) < 1e-5
        np.testing.assert_allclose(outputs["feature"], outputs["fc7"].mean(1), rtol=1e-6)


def applied(name, network, number, jit):
    """Outputs of model `name` for input `number` of a vector that stores clips channels first."""
    expected = golden.vectors(network)
    variables = pretrained.from_torch(name, golden.state_dict(network))
    module = models.create(name)
    clips = golden.clip(expected[f"{number}/input_shape"], number).transpose(0, 2, 3, 4, 1)
    outputs = (jax.jit(module.apply) if jit else module.apply)(variables, clips)
    return outputs, {key.removeprefix(f"{number}/"): value for key, value in expected.items()}


def osnet_errors(name, numbers, jit, **options):
    """The relative error of each stored output for the inputs of these numbers."""
    expected = golden.vectors(name)
    variables = pretrained.from_torch(name, golden.state_dict(name))
    module = models.create(name)
    apply = jax.jit(module.apply, **options) if jit else module.apply
    errors = {}
    for number in numbers:
        clips = golden.clip(expected[f"{number}/input_shape"], number).transpose(0, 2, 3, 1)[:, None]
        outputs = apply(variables, clips)
        found = {
            "featuremap.mean_w": np.asarray(outputs["conv5"])[:, 0].mean(2).transpose(0, 2, 1),
            "pooled": outputs["pooled"],
            "feature": outputs["feature"],
        }
        errors |= {f"{number}/{key}": relative(value, expected[f"{number}/{key}"]) for key, value in found.items()}
    return errors


@pytest.mark.slow
def test_the_smallest_osnet_at_half_size():
    # Machine code that is not optimised compiles faster; the sums are the same.
    errors = osnet_errors("osnet_x0_25", [1], True, compiler_options={"xla_backend_optimization_level": 0})
    assert max(errors.values()) < 5e-6, errors


@pytest.mark.slow
@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
@pytest.mark.parametrize("name", ["osnet_x1_0", "osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x1_0"])
def test_osnet(name, jit):
    errors = osnet_errors(name, [0, 1], jit)
    assert max(errors.values()) < 5e-6, errors


@pytest.mark.slow
def test_resnet50_with_a_batch_norm_neck():
    """The backbone is torchvision's; the neck is written out in float64."""
    expected = golden.vectors("resnet50_2d")
    tensors = golden.state_dict("resnet50_2d")
    state = {
        f"backbone.{name}": value for name, value in tensors.items() if not name.startswith(("feat", "classifier"))
    }
    shapes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (2048,))
    neck = {leaf: golden.fill(f"heads.bottleneck.0.{leaf}", shape) for leaf, shape in shapes.items()}
    state |= {f"heads.bottleneck.0.{leaf}": value for leaf, value in neck.items()}
    state["heads.weight"] = golden.fill("heads.weight", (751, 2048))
    fields = {"num_classes": 751, "stem_pool": "padded"}
    variables = pretrained.from_torch("resnet50_bnneck", state, **fields)
    clips = golden.clip(expected["0/input_shape"], 0).transpose(0, 2, 3, 1)[:, None]
    outputs = jax.jit(models.create("resnet50_bnneck", **fields).apply)(variables, clips)
    assert relative(outputs["pooled"], expected["0/pooled"]) < 1e-4
    mean, var, scale, bias = (
        neck[leaf].astype(np.float64) for leaf in ("running_mean", "running_var", "weight", "bias")
    )
    feature = (expected["0/pooled"] - mean) / np.sqrt(var + 1e-5) * scale + bias
    assert relative(outputs["feature"], feature) < 1e-4
    assert relative(outputs["logits"], feature @ state["heads.weight"].T) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
@pytest.mark.parametrize("number", [0, 1])
def test_resnet3d_50(number, jit):
    outputs, expected = applied("resnet3d_50", "resnet3d_50", number, jit)
    stem = np.asarray(outputs["stem"]).mean((2, 3)).transpose(0, 2, 1)
    assert relative(stem, expected["stem.mean_hw"]) < 1e-4
    assert relative(np.asarray(outputs["res3"]).mean((1, 2, 3)), expected["layer2.mean_thw"]) < 1e-4
    assert relative(outputs["pooled"], expected["pooled"]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
@pytest.mark.parametrize("kind", ["i3d", "p3d_a", "p3d_b", "p3d_c"])
def test_comparison_networks_of_the_m3d_paper(kind, jit):
    network = f"{kind}_resnet50"
    outputs, expected = applied(f"resnet50_{kind}", network, 0, jit)
    state = golden.state_dict(network)
    feature = np.asarray(outputs["pooled"]) @ state["feat.weight"].T + state["feat.bias"]
    assert relative(np.asarray(outputs["res3"]).mean((1, 2, 3)), expected["layer2.mean_thw"]) < 1e-4
    assert relative(outputs["pooled"], expected["pooled"]) < 1e-4
    assert relative(feature, expected["feat"]) < 1e-4
