"""Files of converted weights: the round trip, the command, and a run that starts from one."""

import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from vreid_jax import convert, models, pretrained
from vreid_jax.errors import InputError
from vreid_jax.experiment.initialisation import initial_variables

FIELDS = {"width": 4, "stage_sizes": (1, 1, 1, 1)}
FLAGS = ["--field=width=4", "--field=stage_sizes=(1, 1, 1, 1)"]
SYSTEM = {"name": "two_stream_m3d", "temporal": "i3d", "clip_length": 4, **FIELDS}


@pytest.fixture(scope="module")
def files(golden, tmp_path_factory):
    """ImageNet-like weights with PyTorch's names, and what the command makes of them for two models."""
    folder = tmp_path_factory.mktemp("weights")
    save_file({n: v for n, v in golden.narrow_resnet().items()}, folder / "imagenet.safetensors")
    for model in ("resnet50", "resnet50_separable"):
        weights, out = f"--weights={folder / 'imagenet.safetensors'}", f"--out={folder / model}.safetensors"
        assert convert.main([f"--model={model}", weights, out, "--licence=BSD-3-Clause", *FLAGS]) == 0
    return folder


def start_from(path, variables, **changes):
    return initial_variables(str(path), variables, model="two_stream_m3d", **changes)[0]


@pytest.fixture(scope="module")
def variables():
    fields = {key: value for key, value in SYSTEM.items() if key != "name"}
    module = models.create("two_stream_m3d", num_classes=3, **fields)
    clips = jax.ShapeDtypeStruct((1, 4, 64, 32, 3), jnp.float32)
    quick = {"xla_backend_optimization_level": 0}
    return jax.jit(lambda: dict(module.lazy_init(jax.random.key(1), clips)), compiler_options=quick)()


def test_round_trip(files, golden):
    for model in ("resnet50", "resnet50_separable"):
        expected = pretrained.from_torch(model, golden.narrow_resnet(), **FIELDS)
        found = pretrained.load_weights(files / f"{model}.safetensors")
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        assert jax.tree.structure(found) == jax.tree.structure(expected)


def test_the_file_describes_itself(files):
    with safe_open(files / "resnet50_separable.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    assert (metadata["model"], metadata["licence"]) == ("resnet50_separable", "BSD-3-Clause")
    assert json.loads(metadata["fields"]) == {"width": 4, "stage_sizes": [1, 1, 1, 1]}


@pytest.mark.slow
@pytest.mark.parametrize("file", ["resnet50.safetensors", "imagenet.safetensors"])
def test_a_run_starts_from_a_file(files, variables, golden, file):
    found = start_from(files / file, variables, inflation="center")
    kernel = golden.narrow_resnet()["layer1.0.conv2.weight"].transpose(2, 3, 1, 0)
    streams = found["params"]
    np.testing.assert_array_equal(streams["spatial"]["backbone"]["layer1_0"]["conv2"]["kernel"], kernel)
    np.testing.assert_array_equal(streams["temporal"]["backbone"]["layer1_0"]["conv2"]["kernel"][1], kernel)
    statistics = found["batch_stats"]["temporal"]["backbone"]["bn1"]["var"]
    np.testing.assert_array_equal(statistics, golden.narrow_resnet()["bn1.running_var"])
    for stream in ("spatial", "temporal"):
        jax.tree.map(np.testing.assert_array_equal, streams[stream]["head"], variables["params"][stream]["head"])


def test_patterns_choose_what_is_taken(files, variables):
    found = start_from(files / "resnet50.safetensors", variables, patterns=("spatial/.*",))["params"]
    jax.tree.map(np.testing.assert_array_equal, found["temporal"], variables["params"]["temporal"])
    assert np.abs(found["spatial"]["backbone"]["conv1"]["kernel"]).max() > 0
    old = variables["params"]["spatial"]["backbone"]["conv1"]["kernel"]
    assert not np.array_equal(found["spatial"]["backbone"]["conv1"]["kernel"], old)


def test_a_whole_system_leaves_out_another_classifier(variables, tmp_path, caplog):
    other = jax.tree.map(lambda x: np.asarray(x) + 1, variables)
    for stream in ("spatial", "temporal"):
        other["params"][stream]["head"]["classifier"] = {"kernel": np.ones((128, 7)), "bias": np.ones(7)}
    pretrained.save_weights(tmp_path / "system.safetensors", other, "two_stream_m3d", {}, "none")
    with caplog.at_level(logging.INFO):
        found = start_from(tmp_path / "system.safetensors", variables)["params"]
    lines = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(lines) == 1
    assert "params/spatial/head/classifier/kernel" in lines[0]
    jax.tree.map(
        np.testing.assert_array_equal,
        found["spatial"]["head"]["classifier"],
        variables["params"]["spatial"]["head"]["classifier"],
    )
    np.testing.assert_array_equal(found["spatial"]["head"]["feature"]["bias"], np.ones(128))


def test_temporal_kernels_without_a_place_are_an_error(files, variables):
    with pytest.raises(
        InputError, match=r"is of another model; in it without a place: .*params/layer1_0/conv2_t/kernel"
    ):
        start_from(files / "resnet50_separable.safetensors", variables)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model=resnet5"], "there is no model 'resnet5'"),
        (["--weights=nothing.pth"], "nothing.pth does not exist"),
        (["--out=model.npz"], "must end in .safetensors"),
        (["--out=nowhere/at/all.safetensors"], "the folder of nowhere"),
        (["--field=width"], "--field=width is not NAME=VALUE"),
        (["--inflation=middle"], "inflation is 'middle'"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_sentence(files, tmp_path, capsys, flags, words):
    good = ["--model=resnet50", f"--weights={files / 'imagenet.safetensors'}", f"--out={tmp_path / 'm.safetensors'}"]
    assert convert.main([*good, *FLAGS, *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_of_somebody_else_is_not_loaded_as_ours(files, tmp_path):
    with pytest.raises(InputError, match="was not written by"):
        pretrained.load_weights(files / "imagenet.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"12345678")
    with pytest.raises(InputError, match="not a readable safetensors"):
        pretrained.load_weights(tmp_path / "broken.safetensors")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.ones(2, np.int8), "is damaged: the tensor params/w is of int8, expected float16"),
        (np.array([1, np.nan], np.float32), "is damaged: the tensor params/w has numbers that are not finite"),
    ],
)
def test_a_file_with_other_tensors_than_finite_floats_is_damaged(tmp_path, value, said):
    pretrained.save_weights(tmp_path / "odd.safetensors", {"params": {"w": value}}, "resnet50", {}, "none")
    with pytest.raises(InputError, match=said):
        pretrained.load_weights(tmp_path / "odd.safetensors")
