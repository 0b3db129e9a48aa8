"""Person re-identification weights as other projects ship them: names, prefixes, checkpoints, classifiers."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import models, pretrained
from vreid_jax.errors import InputError

_spec = importlib.util.spec_from_file_location("golden_state", Path(__file__).parents[1] / "golden" / "golden_state.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

NARROW = {"width": 4, "stage_sizes": (1, 1, 1, 1)}
CEIL = {**NARROW, "stem_pool": "ceil"}
CHANNELS = 32 * 4


def osnet_state():
    """The smallest OSNet with a classifier of 7."""
    shapes = {"classifier.weight": (7, 512), "classifier.bias": (7,)}
    return golden.state_dict("osnet_x0_25") | {name: golden.fill(name, shape) for name, shape in shapes.items()}


def neck(name):
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{name}.{leaf}": golden.fill(f"neck.{leaf}", (CHANNELS,) if leaf != leaves[-1] else ()) for leaf in leaves}


def bnneck_state(backbone, norm, classifier, classes=6):
    """The same narrow network under the names of a project."""
    state = {f"{backbone}.{name}": value for name, value in golden.narrow_resnet().items()}
    return state | neck(norm) | {f"{classifier}.weight": golden.fill("classifier.weight", (classes, CHANNELS))}


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize(
    ("backbone", "fields", "state"),
    [
        pytest.param("osnet_x0_25", {}, lambda: golden.state_dict("osnet_x0_25"), marks=pytest.mark.slow),
        ("resnet50", NARROW, golden.narrow_resnet),
    ],
)
def test_the_strong_baseline_takes_the_weights_of_its_backbone(backbone, fields, state):
    found = pretrained.from_torch("strong_baseline", state(), backbone=backbone, backbone_fields=fields)
    found = found["params"]["frames"]
    alone = pretrained.from_torch(backbone, state(), **fields)["params"]
    same(found, alone["backbone"] if backbone != "resnet50" else alone)


def test_a_checkpoint_of_torchreid_or_boxmot_is_unwrapped_and_every_tensor_lands():
    state = osnet_state()
    parallel = {f"module.{name}": value for name, value in state.items()}
    checkpoint = {"state_dict": parallel, "epoch": 60, "rank1": np.float32(0.7), "optimizer": {"state": {}}}
    variables = pretrained.from_torch("osnet_x0_25", checkpoint, num_classes=7)
    backbone, head = variables["params"]["backbone"], variables["params"]["head"]
    depthwise = backbone["conv3_1"]["conv2_3_2"]["conv2"]["kernel"][:, :, 0]
    np.testing.assert_array_equal(depthwise, state["conv3.1.conv2d.2.conv2.weight"][:, 0].transpose(1, 2, 0))
    point = backbone["conv2_0"]["conv2_0_0"]["conv1"]["kernel"][0, 0]
    np.testing.assert_array_equal(point, state["conv2.0.conv2a.conv1.weight"][:, :, 0, 0].T)
    np.testing.assert_array_equal(backbone["pool3"]["bn"]["scale"], state["conv3.2.0.bn.weight"])
    np.testing.assert_array_equal(head["fc"]["kernel"], state["fc.0.weight"].T)
    np.testing.assert_array_equal(head["classifier"]["kernel"], state["classifier.weight"].T)
    np.testing.assert_array_equal(head["classifier"]["bias"], state["classifier.bias"])
    # Every tensor of the state dict is somewhere: as many numbers on both sides.
    numbers = sum(value.size for name, value in state.items() if not name.endswith("num_batches_tracked"))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == numbers


def test_a_classifier_of_another_size_is_left_out_and_an_absent_one_keeps_its_initialisation(caplog):
    state = bnneck_state("backbone", "heads.bottleneck.0", "heads")
    with caplog.at_level("INFO", logger="absl"):
        other = pretrained.from_torch("resnet50_bnneck", state, num_classes=5, **CEIL)
    assert "heads.weight" in caplog.text
    assert other["params"]["head"]["classifier"]["kernel"].shape == (CHANNELS, 5)
    del state["heads.weight"]
    same(pretrained.from_torch("resnet50_bnneck", state, num_classes=5, **CEIL), other)


@pytest.mark.slow
def test_osnet_in_another_width_or_of_another_family_is_refused():
    with pytest.raises(InputError, match=r"conv1.conv.weight \(16, 3, 7, 7\) for params/backbone/conv1/conv/kernel"):
        pretrained.from_torch("osnet_x0_5", osnet_state())
    with pytest.raises(InputError, match=r"without a value: .*params/backbone/conv2_0/IN/scale"):
        pretrained.from_torch("osnet_ibn_x1_0", osnet_state(), width=16)


def test_a_neck_loads_under_the_names_of_fastreid_and_of_the_strong_baseline():
    fields = {**CEIL, "num_classes": 6}
    fastreid = bnneck_state("backbone", "heads.bottleneck.0", "heads")
    means = {"pixel_mean": np.full((1, 3, 1, 1), 120.0), "pixel_std": np.full((1, 3, 1, 1), 58.0)}
    expected = pretrained.from_torch("resnet50_bnneck", {"model": fastreid | means, "iteration": 9}, **fields)
    older = bnneck_state("backbone", "heads.bnneck", "heads.classifier")
    strong = bnneck_state("base", "bottleneck", "classifier")
    same(pretrained.from_torch("resnet50_bnneck", older, **fields), expected)
    same(pretrained.from_torch("resnet50_bnneck", strong, stem_relu=False, **fields), expected)
    head = expected["params"]["head"]
    np.testing.assert_array_equal(head["classifier"]["kernel"], fastreid["heads.weight"].T)
    np.testing.assert_array_equal(head["bn"]["scale"], fastreid["heads.bottleneck.0.weight"])
    assert "classifier" not in pretrained.from_torch("resnet50_bnneck", fastreid, **CEIL)["params"]["head"]


def test_what_another_head_or_backbone_of_fastreid_has_is_refused():
    state = bnneck_state("backbone", "heads.bottleneck.0", "heads")
    for name in ("heads.pool_layer.p", "backbone.layer1.0.bn1.IN.weight", "backbone.NL_2.0.theta.weight"):
        with pytest.raises(InputError, match=f"without a place: {name}"):
            pretrained.from_torch("resnet50_bnneck", state | {name: np.ones(1, np.float32)}, **CEIL)


def test_fastreid_needs_a_word_about_its_pool():
    state = bnneck_state("backbone", "heads.bottleneck.0", "heads")
    with pytest.raises(InputError, match=r"Since August 2020, in all of 1.x, .* give stem_pool=ceil for the former"):
        pretrained.from_torch("resnet50_bnneck", state, **NARROW)
    x = jax.ShapeDtypeStruct((1, 1, 30, 14, 3), jnp.float32)
    for pool, size in (("padded", (8, 4)), ("ceil", (7, 3))):  # of a stem map of 15x7
        variables = pretrained.from_torch("resnet50_bnneck", state, stem_pool=pool, **NARROW)
        module = models.create("resnet50_bnneck", stem_pool=pool, **NARROW)
        assert jax.eval_shape(module.apply, variables, x)["res2"].shape[2:4] == size


def test_the_strong_baseline_needs_a_word_about_its_stem(xla_as_users_have_it):
    state = bnneck_state("base", "bottleneck", "classifier")
    with pytest.raises(InputError, match="give stem_relu=False for reid-strong-baseline itself"):
        pretrained.from_torch("resnet50_bnneck", state, **NARROW)
    variables = pretrained.from_torch("resnet50_bnneck", state, stem_relu=False, **NARROW)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 1, 32, 16, 3)), jnp.float32)

    def stem(relu):
        module = models.create("resnet50_bnneck", stem_relu=relu, **NARROW)
        apply = jax.jit(lambda variables: module.apply(variables, x)["stem"], compiler_options=xla_as_users_have_it)
        return apply(variables)

    assert stem(False).min() < 0
    np.testing.assert_array_equal(np.maximum(stem(False), 0), stem(True))


def test_a_checkpoint_with_numpy_numbers_is_read_skipped_without_torch(tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(np.array(value)) for name, value in osnet_state().items()}
    file = tmp_path / "osnet_x0_25_msmt17.pt"
    torch.save({"state_dict": state, "epoch": 3, "rank1": np.float32(0.7), "mAP": np.float64(0.4)}, file)
    same(pretrained.from_torch("osnet_x0_25", file), pretrained.from_torch("osnet_x0_25", osnet_state()))
    torch.save({"model": torch.nn.Linear(2, 2)}, file)
    with pytest.raises(InputError, match=r"holds other objects than tensors and numbers.*save the state dict alone"):
        pretrained.from_torch("osnet_x0_25", file)
