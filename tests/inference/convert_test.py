"""Weights of another project become a model file that says how frames enter, and embeds tracklets as the mean of frames."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from vreid_jax import inference
from vreid_jax.cli import command
from vreid_jax.config import from_file
from vreid_jax.errors import InputError
from vreid_jax.files import only_process
from vreid_jax.inference.loading import described
from vreid_jax.model_files.weights_file import read_metadata

_spec = importlib.util.spec_from_file_location("golden_state", Path(__file__).parents[1] / "golden" / "golden_state.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The smallest OSNet, converted by the command from a state dict with a prefix and a classifier."""
    folder = tmp_path_factory.mktemp("osnet")
    state = {f"module.{name}": value for name, value in golden.state_dict("osnet_x0_25").items()}
    state["module.classifier.weight"] = np.zeros((1041, 512), np.float32)
    state["module.classifier.bias"] = np.zeros(1041, np.float32)
    save_file(state, folder / "osnet_x0_25_msmt17.safetensors")
    out = folder / "osnet.safetensors"
    arguments = [str(folder / "osnet_x0_25_msmt17.safetensors"), "--model=osnet_x0_25", f"--out={out}"]
    assert command.main(["convert", *arguments]) == 0
    return out


@pytest.mark.slow
def test_the_file_and_its_card_say_how_frames_enter(converted):
    seen = read_metadata(converted)["preprocessing"]
    assert (seen["height"], seen["width"], tuple(seen["mean"]), tuple(seen["std"])) == (256, 128, MEAN, STD)
    assert seen["clips"]["feature"] | {"kind": "all", "length": 1} == seen["clips"]["feature"]
    card = converted.with_suffix(".md").read_text()
    assert "256 x 128 pixels (height x width)" in card
    assert "that of osnet_x0_25_msmt17.safetensors, from which these weights were converted" in card
    model = inference.load(converted)
    assert (model.name, model.metric, model.mean, model.std) == ("osnet_x0_25", "euclidean", MEAN, STD)
    assert model.streams["feature"].clip.length == 1


def test_damage_is_found_and_files_of_before_keep_their_fingerprint(converted, tmp_path):
    content = converted.read_bytes()
    stated = read_metadata(converted)["fingerprint"]
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content[:-100] + bytes(100))
    with pytest.raises(
        InputError, match=f"damaged.safetensors is damaged: its fingerprint says {stated}, its content is"
    ):
        inference.load(damaged)
    with safe_open(converted, framework="numpy") as file:
        metadata = {name: text for name, text in file.metadata().items() if name != "fingerprint"}
    save_file(load_file(converted), tmp_path / "before.safetensors", metadata)
    assert inference.load(tmp_path / "before.safetensors").fingerprint == stated


def test_a_file_that_a_killed_process_left_without_its_card_gets_it_and_no_other_does(untrained, toy, tmp_path, capsys):
    source, out = tmp_path / "source.safetensors", tmp_path / "out.safetensors"
    inference.save(untrained(toy), source)
    assert command.main(["convert", str(source), f"--out={out}"]) == 0
    before, card = out.read_bytes(), out.with_suffix(".md").read_text()
    out.with_suffix(".md").unlink()
    assert command.main(["convert", str(source), f"--out={out}", "--licence=Apache-2.0"]) == 2
    assert f"{out} is there already: name another file, or remove it" in capsys.readouterr().err
    assert command.main(["convert", str(source), f"--out={out}"]) == 0
    assert (out.read_bytes(), out.with_suffix(".md").read_text()) == (before, card)
    assert len(list(tmp_path.iterdir())) == 3


def test_two_converts_do_not_write_one_file(converted, tmp_path, capsys):
    out = tmp_path / "again.safetensors"
    with only_process(tmp_path / ".again.safetensors.lock", "busy", keep=False):
        assert command.main(["convert", str(converted), f"--out={out}"]) == 2
        assert f"another process writes {out}: wait for it, or name another file" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
    assert not list(converted.parent.glob(".*"))  # the lock of its own making


def c3d_state(width, hidden_size):
    """A state dict of C3D with its fully connected layers, all zero."""
    before, state = 3, {}
    for name, times in [("1", 1), ("2", 2), ("3a", 4), ("3b", 4), ("4a", 8), ("4b", 8), ("5a", 8), ("5b", 8)]:
        after = times * width
        state |= {f"conv{name}.weight": np.zeros((after, before, 3, 3, 3)), f"conv{name}.bias": np.zeros(after)}
        before = after
    for name, inputs in [("fc6", 16 * before), ("fc7", hidden_size)]:
        state |= {f"{name}.weight": np.zeros((hidden_size, inputs)), f"{name}.bias": np.arange(hidden_size)}
    return {name: value.astype(np.float32) for name, value in state.items()}


def test_c3d_with_its_fully_connected_layers_embeds_frames_of_the_size_that_they_read(tmp_path):
    save_file(c3d_state(width=1, hidden_size=3), tmp_path / "c3d.safetensors")
    out, source = tmp_path / "fc7.safetensors", str(tmp_path / "c3d.safetensors")
    fields = ["--field=fully_connected=True", "--field=width=1", "--field=hidden_size=3"]
    assert command.main(["convert", source, "--model=c3d", f"--out={out}", *fields]) == 0
    seen = read_metadata(out)["preprocessing"]
    assert (seen["height"], seen["width"]) == (112, 112)
    np.testing.assert_array_equal(inference.load(out).embed(np.zeros((16, 20, 10, 3), np.uint8)), [0, 1, 2])


@pytest.mark.parametrize(
    ("name", "fields", "size"),
    [
        ("person_vlad", {"fully_connected": True}, (112, 112)),
        ("person_vlad", {}, (180, 90)),
        ("c3d", {}, (180, 90)),
        ("c3d_small", {}, (180, 90)),
    ],
)
def test_weights_without_preprocessing_see_frames_of_the_size_that_their_fields_need(name, fields, size):
    data = described({"model": name, "fields": fields}, {}).config.data
    assert (data.height, data.width) == size


@pytest.mark.slow
def test_a_tracklet_is_the_mean_of_its_frames(converted):
    model = inference.load(converted)
    frames = np.random.default_rng(0).integers(0, 256, (5, 256, 128, 3), np.uint8)
    whole = model.embed(frames)
    alone = np.stack([model.embed(frames[number : number + 1]) for number in range(5)])
    assert whole.shape == (512,)
    np.testing.assert_allclose(whole, alone.mean(0), rtol=1e-4, atol=1e-5 * np.abs(whole).max())
    floats = (frames / 255 - np.array(MEAN)) / np.array(STD)
    variables = jax.tree.map(jnp.asarray, dict(model.variables))
    outputs = model.module.apply(variables, jnp.asarray(floats[None], jnp.float32))
    np.testing.assert_allclose(whole, outputs["feature"][0], rtol=1e-3, atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--card", "--out=out.safetensors"], "--card prints a card and converts nothing: leave out the other flags"),
        (["--card", "."], ". is a folder, and a model file has a card: `vreid convert . --out=FILE` makes both"),
        (["--half"], "are about the file that is written: give --out=FILE.safetensors"),
        (["--without-classifier"], "are about the file that is written: give --out=FILE.safetensors"),
        (["a.pt", "--model=osnet_x0_25", "--out=out.safetensors", "--half"], "PyTorch weights are converted whole"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(arguments, said, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(["convert", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_classifier_that_vectors_are_made_of_is_not_left_out(untrained, tmp_path, capsys):
    model = untrained(from_file("two_stream_vgg:walkers,fusion=scores,model.width=2,model.hidden_size=8"))
    inference.save(model, tmp_path / "whole.safetensors")
    lean = tmp_path / "lean.safetensors"
    assert command.main(["convert", str(tmp_path / "whole.safetensors"), f"--out={lean}", "--without-classifier"]) == 2
    assert "the model cannot embed without its classifier: stream scores needs the" in capsys.readouterr().err
    assert not lean.exists()
