"""Exports, ONNX too: read back without the network, equal to the model at several batch sizes, refused where not."""

import dataclasses
import importlib.util
import json
import runpy
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import export, inference
from vreid_jax.cli import command
from vreid_jax.config import from_file
from vreid_jax.errors import InputError
from vreid_jax.export import writing
from vreid_jax.export.parts import Part, check, model_parts
from vreid_jax.model_files.weights_file import read_metadata


@pytest.fixture(scope="module")
def model(toy_module, untrained):
    return untrained(toy_module.get_config("walkers"))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "toy"
    export.export_model(model, out)
    return out


@pytest.fixture(scope="module")
def with_onnx(model, tmp_path_factory):
    pytest.importorskip("onnxruntime", reason="ONNX is an extra")
    out = tmp_path_factory.mktemp("exported") / "toy"
    export.export_model(model, out, platforms=("cpu",), onnx=True)
    return out


def test_what_is_read_back_equals_the_model_at_any_batch_size(model, folder):
    read = export.read(folder)
    rng = np.random.default_rng(1)
    for name, stream in model.config.evaluation.streams.items():
        for size in (2, 5):
            frames = rng.integers(0, 256, (size, stream.clip.length, 32, 16, 3), dtype=np.uint8)
            floats = (frames / 255 - np.array(model.mean)) / np.array(model.std)
            apply = stream.apply.to_dict()
            expected = model.module.apply(model.variables, floats.astype(np.float32), train=False, **apply)["feature"]
            np.testing.assert_allclose(read.functions[name](frames), expected, rtol=1e-5, atol=1e-5)


def test_a_tracklet_has_the_vector_of_the_model(model, folder):
    frames = np.random.default_rng(2).integers(0, 256, (7, 40, 20, 3), dtype=np.uint8)
    np.testing.assert_allclose(export.read(folder).embed(frames), model.embed(frames), rtol=1e-5, atol=1e-6)


def test_the_metadata_say_what_goes_in_and_comes_out(model, folder):
    about = json.loads((folder / "metadata.json").read_text())
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    assert about["functions"]["temporal"]["inputs"] == [{"shape": ["b", 2, 32, 16, 3], "dtype": "uint8"}]
    assert about["functions"]["temporal"]["outputs"] == [["b", 8]]
    assert "uint8 RGB frames, normalised by the function" in about["input"]["pixels"]
    assert (about["input"]["height"], about["input"]["width"], about["fingerprint"]) == (32, 16, model.fingerprint)
    assert all(found["largest_difference"] <= 1e-5 for found in about["functions"].values())
    assert sorted(path.name for path in folder.iterdir()) == [
        "metadata.json", "spatial.jax_export", "temporal.jax_export",
    ]  # fmt: skip


def test_an_export_of_a_run_states_the_licence_of_a_file_of_it(model, tmp_path):
    run = dataclasses.replace(model, about={"dataset": "walkers"})
    inference.save(run, tmp_path / "toy.safetensors")
    about = writing._describe(run, ("cpu",))
    stated = about["licence"]
    assert "adapted" not in about
    assert stated == "trained on walkers, whose terms apply to what is made of it"
    assert read_metadata(tmp_path / "toy.safetensors")["licence"] == stated


def test_an_export_of_an_adapted_model_says_so(model):
    adapted = inference.adapted(dataclasses.replace(model, about={"dataset": "walkers"}), {"footage": ["a.mp4"]})
    about = writing._describe(adapted, ("cpu",))
    assert (about["dataset"], about["adapted"]) == ("walkers", {"footage": ["a.mp4"]})


def test_something_else_than_the_model_is_not_kept(model, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "read_function", lambda path: lambda frames: np.zeros((len(frames), 8)))
    with pytest.raises(RuntimeError, match=r"the exported spatial differs from the model by 1.0e\+00; it was not kept"):
        export.export_model(model, tmp_path / "toy", platforms=("cpu",))
    assert not list(tmp_path.iterdir())


def broken(frames):
    return jnp.full((len(frames), 3), jnp.nan).at[0].set(1.0)


@pytest.mark.parametrize(
    ("found", "function", "said"),
    [
        (broken, jnp.ones_like, "the exported toy returns NaN or infinite values"),
        (broken, broken, "the model's toy returns NaN or infinite values"),
        (lambda frames: np.full((len(frames), 3), np.inf), jnp.ones_like, "the exported toy returns NaN or infinite"),
    ],
)
def test_values_that_are_not_finite_are_not_kept(found, function, said):
    part = Part(function, (("b", 3),), "float32", "toy", ("x",), "y")
    with pytest.raises(RuntimeError, match=said):
        check("toy", found, part)


def test_onnx_files_give_the_features_of_the_model_at_any_batch_size(model, with_onnx):
    import onnxruntime

    rng = np.random.default_rng(3)
    for name, stream in model.config.evaluation.streams.items():
        session = onnxruntime.InferenceSession(with_onnx / f"{name}.onnx", providers=["CPUExecutionProvider"])
        for size in (2, 5):
            frames = rng.integers(0, 256, (size, stream.clip.length, 32, 16, 3), dtype=np.uint8)
            floats = (frames / 255 - np.array(model.mean)) / np.array(model.std)
            apply = stream.apply.to_dict()
            expected = model.module.apply(model.variables, floats.astype(np.float32), train=False, **apply)["feature"]
            (found,) = session.run(["features"], {"frames": frames})
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_metadata_say_how_onnx_was_checked(with_onnx):
    about = json.loads((with_onnx / "metadata.json").read_text())
    assert (about["onnx"]["opset"], about["onnx"]["dtype"]) == (18, "float32")
    assert about["onnx"]["checked_with"].startswith("onnxruntime ")
    for name, found in about["functions"].items():
        assert (found["onnx"]["inputs"], found["onnx"]["output"]) == (["frames"], "features")
        assert found["onnx"]["largest_difference"] <= 1e-4
        assert (with_onnx / f"{name}.onnx").is_file()
    assert set(export.read(with_onnx).functions) == {"spatial", "temporal"}


def test_an_onnx_file_that_computes_something_else_is_not_kept(model, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="ONNX is an extra")
    read = writing.read_onnx
    monkeypatch.setattr(writing, "read_onnx", lambda path: lambda frames: 1.001 * read(path)(frames))
    with pytest.raises(RuntimeError, match=r"the exported spatial.onnx differs from the model by 1.0e-03"):
        export.export_model(model, tmp_path / "toy", platforms=("cpu",), onnx=True)
    assert not list(tmp_path.iterdir())


def test_without_the_extra_onnx_is_one_sentence(model, tmp_path, monkeypatch, capsys):
    inference.save(model, tmp_path / "toy.safetensors")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else find(name, *rest))
    arguments = ["export", str(tmp_path / "toy.safetensors"), f"--out={tmp_path / 'a'}", "--onnx"]
    assert command.main(arguments) == 2
    assert "ONNX needs onnx" in (said := capsys.readouterr().err)
    assert "pip install 'vreid_jax[onnx]'" in said
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "frames", [np.zeros((2, 8, 8, 3)), np.zeros((0, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 4), np.uint8)]
)
def test_frames_of_another_kind_are_refused_in_the_words_of_the_model(model, folder, frames):
    said = []
    for embed in (model.embed, export.read(folder).embed):
        with pytest.raises(InputError, match=r"frames must be \[T, H, W, 3\] uint8 RGB") as error:
            embed(frames)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_a_damaged_file_of_an_export_is_named(folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "toy")
    file = broken / "spatial.jax_export"
    for content in (b"", file.read_bytes()[:1000], bytes(1000)):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"spatial.jax_export is damaged: export the model again"):
            export.read(broken)
    file.unlink()
    with pytest.raises(InputError, match=r"spatial.jax_export cannot be read: No such file"):
        export.read(broken)


def test_an_onnx_file_that_does_not_load_is_named(tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX is an extra")
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(RuntimeError, match=r"onnxruntime cannot load .*a.onnx: "):
        export.read_onnx(tmp_path / "a.onnx")


def test_a_folder_that_the_system_refuses_is_one_sentence(model, tmp_path, monkeypatch):
    def refused(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(InputError, match=r"cannot write .*toy: Permission denied"):
        export.export_model(model, tmp_path / "toy", platforms=("cpu",))


def test_what_cannot_be_exported_is_one_sentence(model, folder, tmp_path, capsys):
    for platforms, words in (
        (("gpu",), "the platforms are cpu, cuda, tpu, not gpu"),
        (("tpu",), "this machine's platform is cpu"),
    ):
        with pytest.raises(InputError, match=words):
            export.export_model(model, tmp_path / "a", platforms=platforms)
    with pytest.raises(InputError, match="exists already"):
        export.export_model(model, folder)
    with pytest.raises(InputError, match="does not contain an export"):
        export.read(tmp_path)
    assert command.main(["export", str(tmp_path / "none"), f"--out={tmp_path / 'a'}"]) == 2
    assert "there is no model" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


SYSTEMS = {
    "m3d": {"width": 4},
    "nonlocal3d": {"width": 4},
    "person_vlad": {"width": 4, "aggregate_over": "tracklet"},
    "clip_similarity": {"width": 4, "hidden": (6, 5)},
    "strong_baseline": {"backbone_fields": {"width": 4, "stage_sizes": (1, 1, 1, 1)}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_is_exported_for_every_platform(name, untrained, tmp_path):
    """The narrow networks of walkers: strided and folded convolutions, attention, VLAD, the scan over pairs of clips."""
    file = Path(__file__).parents[2] / "configs" / f"{name}.py"
    config = runpy.run_path(str(file))["get_config"]("walkers")
    narrow = untrained(config, **SYSTEMS[name])
    onnx = importlib.util.find_spec("onnxruntime") is not None
    about = export.export_model(narrow, tmp_path / name, onnx=onnx)
    assert all(("onnx" in function) == onnx for function in about["functions"].values())
    assert set(config.evaluation.streams) <= set(about["functions"])
    assert ("similarity" in about["functions"]) == (name == "clip_similarity")
    frames = np.random.default_rng(0).integers(0, 256, (12, 64, 32, 3), dtype=np.uint8)
    expected = narrow.embed(frames)
    np.testing.assert_allclose(export.read(tmp_path / name).embed(frames), expected, atol=1e-5 * np.abs(expected).max())


def test_where_one_stream_gives_the_vectors_it_alone_is_exported(untrained):
    """The others of two_stream_vgg are rows of a table, and its row of scores cannot be computed without classifiers."""
    model = untrained(from_file("two_stream_vgg:walkers,model.width=2,model.hidden_size=8"))
    assert set(model_parts(inference.without_classifier(model), "float32")) == {"product", "product.tracklet"}


@pytest.mark.slow
def test_a_network_on_optical_flow_gives_the_vector_of_the_model_too(untrained, tmp_path):
    config = from_file("two_stream_vgg:walkers,fusion=max,model.width=2,model.hidden_size=8")
    with config.unlocked():
        config.evaluation.streams = {name: config.evaluation.streams[name] for name in ("max", "temporal")}
    model = untrained(config)
    export.export_model(model, tmp_path / "vgg", platforms=("cpu",))
    read = export.read(tmp_path / "vgg")
    assert set(read.about["functions"]) == {"max", "max.tracklet"}
    assert read.about["functions"]["max"]["inputs"][0]["shape"] == ["b", 1, 64, 32, 23]
    frames = np.random.default_rng(2).integers(0, 256, (13, 70, 40, 3), dtype=np.uint8)
    np.testing.assert_allclose(read.embed(frames), model.embed(frames), rtol=1e-4, atol=1e-6)
