"""Loading foreign weights: every tensor on both sides is placed, left out by name, or an error."""

import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from vreid_jax import inference, models, pretrained
from vreid_jax.cli import command
from vreid_jax.errors import InputError

FIELDS = {"width": 4, "stage_sizes": (1, 1, 1, 1)}


def norm(name, channels, rng):
    return {
        f"{name}.weight": rng.uniform(0.5, 1.5, channels),
        f"{name}.bias": rng.standard_normal(channels),
        f"{name}.running_mean": rng.standard_normal(channels),
        f"{name}.running_var": rng.uniform(0.5, 1.5, channels),
        f"{name}.num_batches_tracked": np.int64(3),
    }


def resnet_state(width=4):
    """A torchvision-style state dict of a narrow ResNet with one bottleneck a stage."""
    rng = np.random.default_rng(0)
    state = {"conv1.weight": rng.standard_normal((width, 3, 7, 7)), **norm("bn1", width, rng)}
    before = width
    for stage in range(4):
        w, block = width * 2**stage, f"layer{stage + 1}.0"
        sizes = {"conv1": (w, before, 1, 1), "conv2": (w, w, 3, 3), "conv3": (4 * w, w, 1, 1)}
        for conv, size in sizes.items():
            state[f"{block}.{conv}.weight"] = rng.standard_normal(size)
            state.update(norm(f"{block}.bn{conv[-1]}", size[0], rng))
        state[f"{block}.downsample.0.weight"] = rng.standard_normal((4 * w, before, 1, 1))
        state.update(norm(f"{block}.downsample.1", 4 * w, rng))
        before = 4 * w
    state.update({"fc.weight": rng.standard_normal((10, before)), "fc.bias": rng.standard_normal(10)})
    return {name: np.asarray(value, np.int64 if value.ndim == 0 else np.float32) for name, value in state.items()}


def test_every_tensor_lands_transposed(caplog):
    state = resnet_state()
    with caplog.at_level(logging.INFO, logger="absl"):
        variables = pretrained.from_torch("resnet50", state, **FIELDS)
    block, stats = variables["params"]["layer2_0"], variables["batch_stats"]["layer2_0"]
    np.testing.assert_array_equal(block["conv2"]["kernel"][1, 2, 3, 0], state["layer2.0.conv2.weight"][0, 3, 1, 2])
    np.testing.assert_array_equal(
        block["downsample_conv"]["kernel"][0, 0], state["layer2.0.downsample.0.weight"][:, :, 0, 0].T
    )
    np.testing.assert_array_equal(block["bn3"]["scale"], state["layer2.0.bn3.weight"])
    np.testing.assert_array_equal(stats["downsample_bn"]["var"], state["layer2.0.downsample.1.running_var"])
    module = models.create("resnet50", **FIELDS)
    expected = jax.eval_shape(lambda: module.init(jax.random.key(0), np.zeros((1, 1, 32, 16, 3), np.float32)))
    assert jax.tree.map(np.shape, variables) == jax.tree.map(lambda x: x.shape, expected)
    lines = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(lines) == 1
    assert "fc.weight" in lines[0]


@pytest.mark.slow
def test_a_2d_network_leaves_temporal_parts_at_their_initialisation():
    variables = pretrained.from_torch("resnet50_m3d", resnet_state(), **FIELDS)
    module = models.create("resnet50_m3d", **FIELDS)
    clip, parts = jax.ShapeDtypeStruct((1, 8, 64, 32, 3), np.float32), ("m3d", "attention2")

    def initial():
        return dict(module.lazy_init(jax.random.key(0), clip))

    # Only what is compared is drawn and compiled.
    draw = jax.jit(
        lambda: {part: initial()["params"][part] for part in parts},
        compiler_options={"xla_backend_optimization_level": 0},
    )
    jax.tree.map(np.testing.assert_array_equal, {part: variables["params"][part] for part in parts}, draw())
    assert jax.tree.structure(variables) == jax.tree.structure(jax.eval_shape(initial))
    kernel = variables["params"]["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, resnet_state()["conv1.weight"].transpose(2, 3, 1, 0))


def test_what_is_unexplained_is_listed_on_both_sides():
    state = resnet_state()
    state["layer1.0.conv9.weight"] = state.pop("layer1.0.conv2.weight")
    with pytest.raises(InputError) as raised:
        pretrained.from_torch("resnet50", state, **FIELDS)
    theirs, ours = str(raised.value).split("in the model without a value")
    assert "layer1.0.conv9.weight" in theirs
    assert "params/layer1_0/conv2/kernel" in ours


def test_a_part_of_the_temporal_tensors_is_an_error():
    state = resnet_state()
    state["conv1_t.conv1.weight"] = np.zeros((4, 4, 3, 1, 1), np.float32)
    with pytest.raises(InputError, match="params/m3d/conv2/kernel"):
        pretrained.from_torch("resnet50_m3d", state, **FIELDS)


def test_another_width_names_both_shapes():
    with pytest.raises(InputError, match=r"conv1.weight \(4, 3, 7, 7\) for params/conv1/kernel \(7, 7, 3, 8\)"):
        pretrained.from_torch("resnet50", resnet_state(), width=8, stage_sizes=(1, 1, 1, 1))


def test_files_prefixes_and_wrappers_give_the_same(tmp_path):
    state = resnet_state()
    save_file(state, tmp_path / "weights.safetensors")
    expected = pretrained.from_torch("resnet50", state, **FIELDS)
    wrapped = {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}
    for source in (tmp_path / "weights.safetensors", str(tmp_path / "weights.safetensors"), wrapped):
        found = pretrained.from_torch("resnet50", source, **FIELDS)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.slow
def test_a_converted_backbone_embeds_a_tracklet_as_the_mean_over_frames_of_its_pooled_features(tmp_path):
    save_file(resnet_state(), tmp_path / "weights.safetensors")
    fields = [f"--field={name}={value}" for name, value in FIELDS.items()]
    arguments = [str(tmp_path / "weights.safetensors"), "--model=resnet50", f"--out={tmp_path / 'model.safetensors'}"]
    assert command.main(["convert", *arguments, *fields]) == 0
    model = inference.load(tmp_path / "model.safetensors")
    frames = np.random.default_rng(0).integers(0, 256, (8, 256, 128, 3), np.uint8)
    floats = (frames / 255 - np.array(model.mean)) / np.array(model.std)
    outputs = jax.jit(model.module.apply)(model.variables, floats[None].astype(np.float32))
    np.testing.assert_allclose(outputs["feature"], outputs["pooled"].mean(1), rtol=1e-5)
    np.testing.assert_allclose(model.embed(frames), outputs["pooled"][0].mean(0), rtol=1e-3, atol=1e-5)


def test_torch_files_are_read_as_weights_only_skipped_without_torch(tmp_path):
    torch = pytest.importorskip("torch")
    state = resnet_state()
    torch.save({name: torch.from_numpy(np.array(value)) for name, value in state.items()}, tmp_path / "weights.pth")
    found = pretrained.from_torch("resnet50", tmp_path / "weights.pth", **FIELDS)
    jax.tree.map(np.testing.assert_array_equal, found, pretrained.from_torch("resnet50", state, **FIELDS))


def test_bad_sources_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.pth does not exist"):
        pretrained.from_torch("resnet50", tmp_path / "nothing.pth")
    (tmp_path / "weights.txt").write_text("")
    with pytest.raises(InputError, match=r"expected \.pt, \.pth or \.safetensors"):
        pretrained.from_torch("resnet50", tmp_path / "weights.txt")
    with pytest.raises(InputError, match="no rules"):
        pretrained.from_torch("c3d_small", {})
    with pytest.raises(InputError, match="'optimizer' of the state dict is a list"):
        pretrained.from_torch("resnet50", {"optimizer": []})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda weight: weight.astype(np.int8),
            "the tensor layer2.0.conv2.weight is of int8, expected float16, bfloat16",
        ),
        (lambda weight: weight > 0, "the tensor layer2.0.conv2.weight is of bool"),
        (lambda weight: weight.astype(np.complex64), "the tensor layer2.0.conv2.weight is of complex64"),
        (lambda weight: weight.astype(str), "the tensor layer2.0.conv2.weight is of <U"),
        (lambda weight: weight.astype(jnp.float8_e4m3fn), "the tensor layer2.0.conv2.weight is of float8_e4m3fn"),
        (lambda weight: weight * np.nan, "the tensor layer2.0.conv2.weight has numbers that are not finite in float32"),
        (lambda weight: weight * 1e300, "the tensor layer2.0.conv2.weight has numbers that are not finite in float32"),
    ],
)
def test_tensors_that_are_not_finite_floats_are_named(change, said):
    state = resnet_state()
    state["layer2.0.conv2.weight"] = change(state["layer2.0.conv2.weight"].astype(np.float64))
    with pytest.raises(InputError, match=re.escape(said)):
        pretrained.from_torch("resnet50", state, **FIELDS)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float64])
def test_floats_of_other_widths_are_taken(dtype):
    state = resnet_state()
    other = {name: value.astype(dtype) if value.ndim else value for name, value in state.items()}
    found = pretrained.from_torch("resnet50", other, **FIELDS)
    mean = found["batch_stats"]["bn1"]["mean"]
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, other["bn1.running_mean"].astype(np.float32))


def test_two_tensors_for_one_place_are_both_named():
    both = {name: np.ones((8, 4, 3, 3, 3), np.float32) for name in ("conv3a.weight", "conv3a.conv.weight")}
    with pytest.raises(
        InputError, match=r"conv3a\.weight and conv3a\.conv\.weight are both params/conv3a/kernel of 'c3d'"
    ):
        pretrained.from_torch("c3d", both, width=2)


def test_a_file_of_float8_and_a_key_that_is_not_text_are_named(tmp_path):
    header = b'{"w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    (tmp_path / "small.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    with pytest.raises(InputError, match=r"small\.safetensors: the tensor w is of F8_E4M3, expected float16"):
        pretrained.from_torch("resnet50", tmp_path / "small.safetensors", **FIELDS)
    with pytest.raises(InputError, match="the state dict has an entry 3, expected the names of tensors"):
        pretrained.from_torch("resnet50", {"model": {3: np.zeros(2, np.float32)}}, **FIELDS)


def test_a_torch_tensor_of_float8_is_named_skipped_without_torch():
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"the tensor w is of torch\.float8_e4m3fn"):
        pretrained.from_torch("resnet50", {"w": torch.zeros(2).to(torch.float8_e4m3fn)}, **FIELDS)
