"""Model files that were damaged, or come from elsewhere in time: one sentence when they are loaded, never a wrong vector."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from vreid_jax import inference
from vreid_jax.cli import command
from vreid_jax.errors import InputError
from vreid_jax.inference.convert import convert

KERNEL = "params/spatial/conv/kernel"


@pytest.fixture(scope="module")
def good(toy_module, untrained, tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "toy.safetensors"
    inference.save(untrained(toy_module.get_config("walkers")), file)
    return file


def rewritten(good, file, tensors=lambda tensors: None, **metadata):
    """A copy of `good` whose tensors were changed, and whose metadata have these texts, or None of them."""
    arrays = load_file(good)
    tensors(arrays)
    with safe_open(good, framework="numpy") as opened:
        told = opened.metadata()
    told |= {name: new(told[name]) if callable(new) else new for name, new in metadata.items()}
    save_file(arrays, file, {key: value for key, value in told.items() if value is not None})
    return file


def changed(part, key, value):
    """Changes one entry of a part of the metadata."""
    return lambda text: json.dumps({**json.loads(text), key: value})


def bent(arrays):
    arrays[KERNEL][0, 0, 0, 0, 0] += 1e-6


def lost(arrays):
    del arrays[KERNEL]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tensors": bent}, "is damaged: its fingerprint says"),
        (
            {"tensors": lost},
            f"is damaged: 1 of its tensors are not those of its fields, {KERNEL} is nothing instead of",
        ),
        ({"fields": '{"width": 8, "dropout": 0.5}'}, "of its tensors are not those of its fields"),
        ({"fields": '{"wide": 8}'}, "model 'toy' has no field 'wide'"),
        ({"fields": "[4]"}, "is damaged: fields is [4] instead of an object"),
        ({"fields": None}, "is damaged: its metadata lack fields"),
        ({"config": "{"}, "is damaged: config is not valid JSON"),
        ({"config": "{}"}, "is damaged: config lacks system"),
        ({"config": "[" * 100_000}, "is damaged: config is not valid JSON"),
        ({"config": changed("config", "evaluation", 5)}, "is damaged: config.evaluation is 5 instead of an object"),
        ({"preprocessing": "7"}, "is damaged: preprocessing is 7 instead of an object"),
        ({"preprocessing": changed("preprocessing", "std", [1.0])}, "has 1 means or deviations instead of 3"),
        ({"preprocessing": changed("preprocessing", "width", 10**24)}, "cannot be used: its width is 1000"),
        (
            {"preprocessing": changed("preprocessing", "mean", [None] * 3)},
            "preprocessing.mean[0] is null instead of a fi",
        ),
        ({"scores": "[1]"}, "is damaged: scores is [1] instead of an object"),
        ({"scores": '{"walkers": {"rank1": "high"}}'}, "is damaged: scores.walkers lacks mAP"),
        ({"open_set": "true"}, "is damaged: open_set is true instead of an object"),
        ({"adapted": '"yes"'}, 'is damaged: adapted is "yes" instead of an object'),
        ({"step": "1.5"}, "is damaged: step is 1.5 instead of a whole number"),
        ({"model": "tomorrow"}, "cannot be used: there is no model 'tomorrow'"),
        ({"format": "vreid_jax-2"}, "was written by a newer version of vreid_jax"),
    ],
)
def test_a_damaged_file_is_one_sentence_that_names_it(good, tmp_path, capsys, change, words):
    file = rewritten(good, tmp_path / "m.safetensors", **change)
    with pytest.raises(InputError, match=r"m\.safetensors"):
        inference.load(file)
    assert command.main(["convert", str(file)]) == 2
    said = capsys.readouterr().err
    assert f"{file} " in said
    assert words in said
    assert said.count("\n") == 1


def test_a_file_of_another_version_of_the_library_is_the_same_model(good, tmp_path):
    file = rewritten(good, tmp_path / "m.safetensors", library_version="0.0.1")
    model = inference.load(file)
    assert model.fingerprint == inference.load(good).fingerprint
    inference.save(model, tmp_path / "again.safetensors")
    assert inference.load(tmp_path / "again.safetensors").fingerprint == model.fingerprint


def test_whole_numbers_of_the_preprocessing_give_the_fingerprint_of_their_floats(toy_module, untrained):
    whole, floats = (untrained(toy_module.get_config("walkers")) for _ in range(2))
    object.__setattr__(whole, "mean", (0, 0, 1))
    object.__setattr__(floats, "mean", (0.0, 0.0, 1.0))  # as a file of the first one tells
    assert whole.fingerprint == floats.fingerprint


def test_what_the_system_refuses_is_one_sentence(good, tmp_path, monkeypatch):
    def refused(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    model = inference.load(good)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "touch", refused)
        with pytest.raises(InputError, match=r"cannot write .*m.safetensors: Permission denied"):
            inference.save(model, tmp_path / "m.safetensors")
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refused)
        with pytest.raises(InputError, match=r"toy.safetensors cannot be read: Permission denied"):
            inference.load(good)
    with pytest.raises(InputError, match="the model is empty"):
        inference.load("")


def test_a_file_of_somebody_else_beside_it_stays_and_the_new_one_has_ordinary_permissions(good, tmp_path):
    mine, plain = tmp_path / "mine.tmp", tmp_path / "plain"
    mine.write_text("precious")
    plain.touch()
    inference.save(inference.load(good), tmp_path / "mine.safetensors")
    assert mine.read_text() == "precious"
    assert (tmp_path / "mine.safetensors").stat().st_mode == plain.stat().st_mode
    assert json.loads((safe_open(tmp_path / "mine.safetensors", "numpy").metadata())["fields"])["width"] == 4
    assert np.isfinite(inference.load(tmp_path / "mine.safetensors").embed(np.zeros((2, 9, 7, 3), np.uint8))).all()


def test_a_run_of_a_system_that_is_not_in_the_library_says_what_to_do(toy, tmp_path):
    toy.model.name = "attention_pooling"
    (tmp_path / "config.json").write_text(toy.to_json())
    with pytest.raises(InputError, match="is a run of attention_pooling, which is not in the library: import the file"):
        inference.load(tmp_path)


def test_metadata_that_are_null_are_not_there(good, tmp_path):
    file = rewritten(good, tmp_path / "m.safetensors", scores="null", open_set="null", step="null")
    assert {"scores", "open_set", "step"}.isdisjoint(inference.load(file).about)


def test_a_file_says_of_which_comparison_its_scores_are(finished, tmp_path, capsys):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    results = json.loads((workdir / "results.json").read_text())
    card = convert(workdir, tmp_path / "plain.safetensors").read_text()
    assert "In percent, by the comparison `euclidean`.\n" in card
    plain = results["open_set"]
    results |= {"metric": "xqda", "open_set": {**plain, "metric": "xqda", "of_vectors": plain}}
    (workdir / "results.json").write_text(json.dumps(results))
    card = convert(workdir, tmp_path / "learned.safetensors").read_text()
    assert "by the comparison `xqda`. This file does not give it: " in card
    loaded = inference.load(tmp_path / "learned.safetensors")
    assert loaded.about["phase"] == "temporal"
    assert (loaded.about["scores_by"], loaded.about["open_set"]["metric"]) == ("xqda", "euclidean")
    assert command.main(["convert", str(tmp_path / "learned.safetensors")]) == 0
    assert re.search(r"walkers: rank-1 .*, mAP .* by xqda\n", capsys.readouterr().out)
    assert "scores_by" not in inference.adapted(loaded, {}).about


def test_damaged_results_do_not_keep_a_run_from_being_loaded(finished, tmp_path, caplog):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    results = json.loads((workdir / "results.json").read_text())
    whole = inference.load(workdir)
    assert (whole.about["scores"]["walkers"]["mAP"], whole.about["step"]) == (results["protocols"]["walkers"]["mAP"], 8)
    assert not caplog.text
    others = (
        {**results, "step": 4},
        {**results, "protocols": {"walkers": 3}},
        {**results, "open_set": {"threshold": 1}},
    )
    for content in ("", "{", "[]", "null", *map(json.dumps, others)):
        caplog.clear()
        (workdir / "results.json").write_text(content)
        model = inference.load(workdir)
        assert model.fingerprint == whole.fingerprint
        assert model.about == {"system": "toy", "dataset": "walkers", "step": 8, "phase": "temporal"}
        assert "results.json" in caplog.text
        assert f"the model has no scores and thresholds; `vreid evaluate {workdir}` measures them" in caplog.text
        assert len(caplog.records) == 1
