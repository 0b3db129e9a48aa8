"""Results of PersonVLAD's tables are read only where the configuration that is asked for found them."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from vreid_jax.errors import InputError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
DATASET = "walkers/jitter"


@pytest.fixture
def vlad(monkeypatch):
    """The module, whose runs find the number of their training at once; `vlad.trained` names them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("person_vlad_table")
    monkeypatch.setattr(module, "trained", [], raising=False)
    monkeypatch.setattr(module, "PIECES", 2)

    def train_and_evaluate(config, workdir, mode):
        module.trained.append((workdir.name, mode))
        if not config.evaluation.dataset:
            workdir.mkdir(exist_ok=True)
            (workdir / "config.json").write_text(config.to_json())
        number = len(module.trained)
        return SimpleNamespace(content=lambda: {"found": number, "protocols": {module.HEADLINE: {"mAP": number / 100}}})

    monkeypatch.setattr(module, "train_and_evaluate", train_and_evaluate)
    return module


def changed(path, edit):
    """Write a file of JSON anew."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def kept(runs, key="default", suffix=""):
    return runs.out / f"{runs.name(key, DATASET)}-seed1{suffix}.json"


def forget_configurations(out):
    """Leave results as they were before they held their configuration."""
    for path in out.glob("*.json"):
        changed(path, lambda content: content.pop("config"))


def everything(runs, read=False):
    """A row, its controls, one that starts from another, and a curve: what each of them found."""
    found = [
        runs.result("backbone", DATASET, 1, read=read),
        runs.result("default", DATASET, 1, read=read),
        runs.result("default", DATASET, 1, "xqda", read=read),
        runs.result("other", DATASET, 1, "transfer", read=read),
        runs.result("tuned", DATASET, 1, read=read),
    ]
    return [each["found"] for each in found], runs.curve(DATASET, 1, 10, read=read)


@pytest.mark.parametrize("with_configuration", [True, False])
def test_rows_controls_and_curves_are_trained_once_and_read_back(with_configuration, vlad, tmp_path):
    runs = vlad.Runs(tmp_path)
    found, curve = everything(runs)
    names = [runs.name(key, DATASET) for key in ("backbone", "default", "default", "other-backbone", "other", "other")]
    modes = ["train_and_evaluate", "train_and_evaluate", "evaluate", *["train_and_evaluate"] * 2, "evaluate"]
    assert vlad.trained[:6] == [(f"{name}-seed1", mode) for name, mode in zip(names, modes, strict=True)]
    assert [steps for steps, _ in curve] == [300, 600]
    assert len({name for name, _ in vlad.trained[7:]}) == 1  # a longer run continues a shorter one
    count = len(vlad.trained)

    if not with_configuration:
        forget_configurations(tmp_path)
    assert everything(vlad.Runs(tmp_path), read=with_configuration) == (found, curve)
    assert len(vlad.trained) == count


@pytest.mark.parametrize("control", ["", "xqda"])
def test_results_of_another_evaluation_are_refused(control, vlad, tmp_path, monkeypatch):
    vlad.Runs(tmp_path).result("default", DATASET, 1, control)
    changes = {"evaluation.streams.clips.clip.stride": 1}
    monkeypatch.setitem(vlad.ROWS, "default", vlad.Row(changes))
    with pytest.raises(InputError, match=r"clip\.stride was 4, is 1. Use another folder, or remove the file, to score"):
        vlad.Runs(tmp_path).result("default", DATASET, 1, control, read=True)


@pytest.mark.parametrize("with_configuration", [True, False])
@pytest.mark.parametrize("key", ["default", "backbone"])  # the row, and what it starts from
def test_results_of_other_defaults_of_the_library_are_refused(key, with_configuration, vlad, tmp_path):
    """They do not rename a run."""
    runs = vlad.Runs(tmp_path)
    runs.result("default", DATASET, 1)
    phase = {"default": "joint", "backbone": "backbone"}[key]

    def edit(config):
        config["phases"][phase]["accumulation_steps"] = 2

    if with_configuration:
        changed(kept(runs, key), lambda content: edit(content["config"]))
    else:
        forget_configurations(tmp_path)
        changed(kept(runs, key).with_suffix("") / "config.json", edit)
    name = kept(runs, key).name
    words = rf"{name} is of another configuration: phases\.{phase}\.accumulation_steps was 2, is 1. .* remove this run"
    with pytest.raises(InputError, match=words):
        vlad.Runs(tmp_path).result("default", DATASET, 1, read=True)
    with pytest.raises(InputError, match=words):
        vlad.Runs(tmp_path).result("default", DATASET, 1)


def test_a_run_that_has_begun_with_other_defaults_does_not_go_on(vlad, tmp_path):
    runs = vlad.Runs(tmp_path)
    runs.result("backbone", DATASET, 1)
    kept(runs, "backbone").unlink()
    changed(
        kept(runs, "backbone").with_suffix("") / "config.json",
        lambda config: config["phases"]["backbone"].update(total_steps=7),
    )
    with pytest.raises(InputError, match=r"phases\.backbone\.total_steps was 7, is 300"):
        vlad.Runs(tmp_path).result("backbone", DATASET, 1)
    assert len(vlad.trained) == 1


def test_what_a_run_does_not_use_may_differ(vlad, tmp_path):
    vlad.Runs(tmp_path).result("backbone", DATASET, 1)
    assert vlad.Runs(tmp_path, steps=7).result("backbone", DATASET, 1)["found"] == 1
    assert len(vlad.trained) == 1


def test_a_field_that_the_library_has_got_since_then_is_as_it_was(vlad, tmp_path):
    runs = vlad.Runs(tmp_path)
    runs.result("default", DATASET, 1)
    changed(kept(runs), lambda content: content["config"]["phases"]["joint"].pop("accumulation_steps"))
    assert vlad.Runs(tmp_path).result("default", DATASET, 1)["found"] == 2
    # The recipe sets this one: it was another recipe.
    changed(kept(runs), lambda content: content["config"]["model"].pop("hidden_size"))
    with pytest.raises(InputError, match=r"model\.hidden_size was 'nothing', is 128"):
        vlad.Runs(tmp_path).result("default", DATASET, 1)


def test_results_without_any_configuration_are_trusted(vlad, tmp_path):
    kept(vlad.Runs(tmp_path)).write_text('{"found": 7}')
    assert vlad.Runs(tmp_path).result("default", DATASET, 1)["found"] == 7
    assert vlad.trained == []
