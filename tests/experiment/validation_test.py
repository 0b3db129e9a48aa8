"""`data.validation`: training people that are held out and scored in place of the test split."""

import json
import shutil

import numpy as np
import pytest

from vreid_jax import experiment, report
from vreid_jax.cli import command
from vreid_jax.errors import InputError
from vreid_jax.experiment.setup import make_setup, own_test_splits
from vreid_jax.inference.convert import convert


def test_half_of_the_training_people_are_scored_and_the_others_trained_on(toy, tmp_path):
    whole = make_setup(toy, tmp_path / "run").train_source
    toy.data.validation = 0.5
    setup = make_setup(toy, tmp_path / "run")
    trained, scored = set(setup.train_source.pids.tolist()), set(setup.test.gallery.pids.tolist())
    assert not trained & scored
    assert trained | scored == set(whole.pids.tolist())
    assert (len(trained), len(scored), setup.num_identities) == (8, 8, 8)
    assert sorted([*setup.train_source.tracklet_ids, *setup.test.gallery.tracklet_ids]) == sorted(whole.tracklet_ids)
    # A query of every person in every camera, also in the gallery, where it is embedded once.
    pairs = {(int(p), int(c)) for p, c in zip(setup.test.gallery.pids, setup.test.gallery.camids, strict=True)}
    query = list(zip(setup.test.query.pids.tolist(), setup.test.query.camids.tolist(), strict=True))
    assert len(query) == len(pairs)
    assert set(query) == pairs
    assert len(setup.test.tracklets) == len(setup.test.gallery)
    again = make_setup(toy, tmp_path / "run")
    np.testing.assert_array_equal(again.test.gallery.pids, setup.test.gallery.pids)
    toy.seed = 1
    assert set(make_setup(toy, tmp_path / "run").train_source.pids.tolist()) != trained


def test_a_run_with_validation_scores_it_and_says_so(toy, tmp_path, capsys):
    toy.data.validation, toy.evaluation.baselines = 0.5, ()
    toy.phase_order = ("spatial",)
    toy.evaluation.streams = {"spatial": toy.evaluation.streams.spatial}
    results = experiment.train_and_evaluate(toy, tmp_path / "run")
    found, note = results.content(), "validation: 0.5 of the training people"
    assert found["validation"] == 0.5
    assert f"toy on walkers/tiny, split 0, {note}, seed 0" in results.table()
    assert 8 < next(iter(found["protocols"].values()))["num_queries"] < 40
    assert "validation" in json.loads((tmp_path / "run" / "results.json").read_text())
    assert "twins" not in found  # of the test split, of which nobody is scored
    assert "twins" not in results.table()
    page = report.write_report(tmp_path / "run", num_queries=2).read_text()
    assert "stored features" not in page  # the lists are those of the scores
    assert f"run: split 0, {note}, seed 0" in page
    file = tmp_path / "m.safetensors"
    card = convert(tmp_path / "run", file)
    assert f"## Scores on walkers/tiny, {note}\n" in card.read_text()
    assert command.main(["convert", str(file)]) == 0
    assert f"walkers, {note}: rank-1" in capsys.readouterr().out
    toy.evaluation.dataset = "walkers/tiny"
    other = experiment.train_and_evaluate(toy, tmp_path / "run", "evaluate")
    assert other.content()["validation"] == 0.5
    assert f"split 0, trained on walkers/tiny, {note}, seed 0" in other.table()
    assert "twins, system" in other.table()
    # A table of its own, as of another dataset.
    official = shutil.copytree(tmp_path / "run", tmp_path / "official")
    (official / "results.json").write_text(json.dumps({**found, "validation": 0.0}))
    page = report.write_comparison([tmp_path / "run", official], tmp_path / "both.html").read_text()
    assert f"walkers/tiny, split 0, {note}, protocol walkers" in page
    assert "walkers/tiny, split 0, protocol walkers" in page


def test_another_dataset_is_scored_by_its_own_test_split(toy, tmp_path):
    expected = make_setup(toy, tmp_path / "run").test.query.tracklet_ids
    toy.data.validation, toy.evaluation.dataset = 0.5, "walkers/tiny"
    np.testing.assert_array_equal(make_setup(toy, tmp_path / "run").test.query.tracklet_ids, expected)


def test_a_folder_with_one_tracklet_on_both_sides_is_scored_by_and_not_trained_on(
    toy, toy_module, tmp_path, write_folder
):
    people = write_folder(tmp_path / "people")
    shutil.rmtree(people / "train")
    shutil.copytree(people / "gallery", people / "train")
    toy.evaluation.dataset, toy.data.path = "folder", str(people)
    assert len(make_setup(toy, tmp_path / "run", trains=True).test.gallery) == 3
    config = toy_module.get_config(f"folder,path={people}")
    config.data.data_dir = str(tmp_path / "built")
    with pytest.raises(InputError, match=r"train/11/c2_walk and .*gallery/11/c2_walk are the same tracklet: "):
        experiment.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "built").exists()


def test_a_folder_without_train_is_scored_by_and_not_trained_on(toy, toy_module, tmp_path, write_folder):
    people = write_folder(tmp_path / "people", pids=())
    toy.evaluation.dataset, toy.data.path = "folder", str(people)
    assert len(make_setup(toy, tmp_path / "run", trains=True).test.gallery) == 3
    config = toy_module.get_config(f"folder,path={people}")
    config.data.data_dir = str(tmp_path / "built")
    said = (
        rf"^{people}/train is missing, which a run of this folder trains on: add it, or train on another dataset and "
    )
    with pytest.raises(InputError, match=said):
        experiment.train_and_evaluate(config, tmp_path / "run")
    config.data.validation = 0.5  # of the people to train on, whom a report of the run asks for
    with pytest.raises(InputError, match=said):
        own_test_splits(config)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(InputError, match=said):
        experiment.train_and_evaluate(config, tmp_path / "run", "evaluate")
    assert not (tmp_path / "built").exists()
