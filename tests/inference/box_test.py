"""The model in the box: it is there, small and named; what is wrong with it is one sentence; and its card is of it."""

import json
import re

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file

import vreid_jax
from vreid_jax import inference
from vreid_jax.cli import command
from vreid_jax.config import from_file
from vreid_jax.errors import InputError
from vreid_jax.inference import box
from vreid_jax.model_files.weights_file import read_metadata

NARROW = {"width": 2, "stage_sizes": (1, 1, 1, 1)}


@pytest.fixture
def toy_box(toy_module, untrained, tmp_path, monkeypatch):
    """A toy in the place of the model in the box."""
    file = tmp_path / "people.safetensors"
    inference.save(untrained(toy_module.get_config("walkers")), file)
    monkeypatch.setattr(box, "FILE", file)
    return file


def test_it_is_there_and_small_and_holds_nothing_that_only_its_training_needed():
    assert box.box_file().stat().st_size < 3e6
    tensors = load_file(box.box_file())
    assert not [name for name in tensors if "classifier" in name]
    metadata = read_metadata(box.box_file())
    assert metadata["licence"] == "Apache-2.0"
    assert metadata["config"]["data"]["name"] == "walkers/wild"
    assert (metadata["config"]["data"]["data_dir"], metadata["config"]["data"]["path"]) == ("", "")


def test_it_is_what_is_loaded_without_a_name():
    model = vreid_jax.load()
    assert model.fingerprint == box.box_fingerprint() == inference.load(box.FILE).fingerprint
    frames = np.random.default_rng(0).integers(0, 256, (2, 40, 20, 3), dtype=np.uint8)
    assert np.linalg.norm(model.embed(frames)) > 0


def test_its_card_is_of_this_file_and_complete():
    card = (box.FILE.with_suffix(".md")).read_text()
    metadata = read_metadata(box.FILE)
    seen = metadata["preprocessing"]
    for words in (
        f"`{metadata['model']}`",
        f"`{metadata['fields']['backbone']}`",
        f"{seen['height']} x {seen['width']} pixels (height x width)",
        f"{sum(map(np.size, load_file(box.FILE).values())) / 1e6:.2f} million parameters and statistics",
        f"{box.FILE.stat().st_size / 1e6:.1f} MB",
        "What it is not for",
    ):
        assert words in card
    assert not re.search(r"\|\s*\?", card), "a figure is missing"


def test_the_commands_say_that_they_use_it(toy_box, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    import cv2

    (tmp_path / "people" / "one").mkdir(parents=True)
    for number in range(2):
        cv2.imwrite(str(tmp_path / "people" / "one" / f"{number}.png"), np.full((40, 20, 3), 90, np.uint8))
    out = tmp_path / "people.parquet"
    fingerprint = box.box_fingerprint()
    said = f"model: the one in the box, toy {fingerprint}; `vreid convert --card` tells about it\n"
    assert command.main(["embed", str(tmp_path / "people"), f"--out={out}", "--quiet", "--json"]) == 0
    printed = capsys.readouterr()
    assert (json.loads(printed.out)["fingerprint"], printed.err) == (fingerprint, said)
    query = f"--query={tmp_path / 'people'}"
    assert command.main(["search", str(out), query, "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == said
    (found,) = json.loads(printed.out)["queries"]
    assert found["matches"] == []  # nothing but the query itself
    assert command.main(["convert"]) == 0
    assert capsys.readouterr().out.startswith(f"model: toy {fingerprint}\n")
    assert command.main(["convert", "--card"]) == 0  # without a card beside it, that of its metadata
    assert f"Fingerprint `{fingerprint}`" in capsys.readouterr().out
    toy_box.with_suffix(".md").write_text("# By hand\n")
    assert command.main(["convert", "--card"]) == 0
    assert capsys.readouterr().out == "# By hand\n"


def test_a_missing_and_a_damaged_one_are_one_sentence(toy_box, tmp_path, capsys):
    content = toy_box.read_bytes()
    toy_box.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"the model in the box cannot be used .*: install vreid_jax again, or name a"):
        vreid_jax.load()
    assert box.box_fingerprint() is None
    toy_box.unlink()
    for arguments in (["convert"], ["convert", "--card"], ["export", f"--out={tmp_path / 'out'}"]):
        assert command.main(arguments) == 2
        said = capsys.readouterr().err
        assert f"the model in the box is missing from this installation, there is no {toy_box}: install" in said
        assert said.count("\n") == 1
    assert box.box_fingerprint() is None


@pytest.mark.slow
def test_a_model_without_its_classifier_gives_the_same_vectors(untrained, tmp_path):
    model = untrained(from_file("strong_baseline"), backbone_fields=NARROW)
    whole, lean = tmp_path / "whole.safetensors", tmp_path / "lean.safetensors"
    inference.save(model, whole)
    assert command.main(["convert", str(whole), f"--out={lean}", "--without-classifier"]) == 0
    lost = load_file(whole).keys() - load_file(lean).keys()
    assert lost
    assert all("classifier" in name for name in lost)
    frames = np.random.default_rng(0).integers(0, 256, (5, 40, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(inference.load(lean).embed(frames), inference.load(whole).embed(frames))


def test_half_the_size_is_a_model_of_its_own_that_is_nearly_the_same(toy_module, untrained, tmp_path):
    model = untrained(toy_module.get_config("walkers"))
    whole, small = tmp_path / "whole.safetensors", tmp_path / "small.safetensors"
    inference.save(model, whole)
    assert command.main(["convert", str(whole), f"--out={small}", "--half"]) == 0
    loaded = inference.load(small)
    kept, given = (flatten_dict(one.variables["params"]) for one in (loaded, model))
    for name, value in given.items():
        assert kept[name].dtype == np.float32
        np.testing.assert_array_equal(kept[name], value.astype(np.float16).astype(np.float32))
    assert {value.dtype for name, value in load_file(small).items() if name.startswith("params/")} == {
        np.dtype("float16")
    }
    assert loaded.fingerprint == read_metadata(small)["fingerprint"] != model.fingerprint
    inference.save(loaded, tmp_path / "again.safetensors", half=True)
    assert inference.load(tmp_path / "again.safetensors").fingerprint == loaded.fingerprint
    model.variables["params"]["spatial"]["conv"]["kernel"][0, 0, 0, 0, 0] = 7e4
    with pytest.raises(InputError, match="beyond 65504, the largest float16"):
        inference.save(model, tmp_path / "large.safetensors", half=True)
    assert not (tmp_path / "large.safetensors").exists()
