import json
import os
import signal

import cv2
import numpy as np
import pytest
from scipy.io import savemat

import vreid_jax
from vreid_jax import experiment, report
from vreid_jax.config import NUM_SPLITS
from vreid_jax.datasets import loading
from vreid_jax.datasets.walkers.walkers_dataset_builder import Builder as Walkers
from vreid_jax.errors import InputError, Interrupted
from vreid_jax.experiment import setup as setups
from vreid_jax.experiment import sources
from vreid_jax.experiment import splits as all_splits
from vreid_jax.experiment.preflight import check_evaluation
from vreid_jax.experiment.setup import make_setup
from vreid_jax.experiment.workdir import open_workdir
from vreid_jax.training import loop


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The first two divisions of an iLIDS-VID of eight persons in clothes of their own colours."""
    root = tmp_path_factory.mktemp("ilids")
    rng = np.random.default_rng(0)
    for pid in range(1, 9):
        clothes = rng.integers(0, 255, (8, 1, 3))
        for camid in (1, 2):
            folder = root / "sequences" / f"cam{camid}" / f"person{pid:03d}"
            folder.mkdir(parents=True)
            for frame in range(4):
                picture = np.clip(np.repeat(clothes, 8, 1).repeat(2, 0) + rng.integers(-9, 9, (16, 8, 3)), 0, 255)
                cv2.imwrite(str(folder / f"cam{camid}_person{pid:03d}_{frame}.png"), picture.astype(np.uint8))
    rows = [np.random.default_rng(split).permutation(8) + 1 for split in range(10)]
    savemat(root / "train_test_splits_ilidsvid.mat", {"ls_set": np.array(rows)})
    for number in range(2):
        loading.prepare(f"ilids_vid/split_{number}", root, root / "built", progress=False)
    return root / "built"


@pytest.fixture
def config(toy_module, built, monkeypatch):
    """The toy system's first phase on two divisions."""
    monkeypatch.setitem(NUM_SPLITS, "ilids_vid", 2)
    config = toy_module.get_config("ilids_vid,split=all")
    config.data.data_dir = str(built)
    config.phase_order = ("spatial",)
    spatial = {"spatial": config.evaluation.streams.spatial.to_dict()}
    with config.unlocked():
        config.evaluation.streams = spatial
    config.evaluation.baselines = ("color_histogram",)
    return config


def _mtimes(workdir):
    return {number: (workdir / f"split_{number}" / "results.json").stat().st_mtime_ns for number in (0, 1)}


def test_the_splits_are_trained_and_gathered_and_go_on_where_they_stopped(
    config, tmp_path, monkeypatch, capsys, write_folder
):
    workdir = tmp_path / "run"
    steps, stopped = [0], loop.stopped

    def stop_at_the_sixth(*arguments, **named):
        steps[0] += 1
        if steps[0] == 6:  # in the middle of the second split
            os.kill(os.getpid(), signal.SIGTERM)
        return stopped(*arguments, **named)

    monkeypatch.setattr(loop, "stopped", stop_at_the_sixth)
    with pytest.raises(Interrupted):
        experiment.train_and_evaluate(config, workdir)
    assert (workdir / "split_0" / "results.json").exists()
    assert not (workdir / "results.json").exists()
    first = (workdir / "split_0" / "results.json").stat().st_mtime_ns
    found = experiment.train_and_evaluate(config, workdir)
    assert _mtimes(workdir)[0] == first
    assert steps[0] < 2 * 4 + 3

    written = json.loads((workdir / "results.json").read_text())
    assert written["split"] == "all"
    assert written["split_source"] == "official: train_test_splits_ilidsvid.mat"
    each = [json.loads((workdir / f"split_{n}" / "results.json").read_text()) for n in (0, 1)]
    assert written["splits"] == each
    assert [own["split"] for own in each] == [0, 1]
    for name in ("mAP", "rank1"):
        a, b = (own["protocols"]["ilids_vid"][name] for own in each)
        assert written["protocols"]["ilids_vid"][name] == pytest.approx((a + b) / 2)
        assert written["std"]["ilids_vid"][name] == pytest.approx(abs(a - b) / np.sqrt(2))
    assert written["protocols"]["ilids_vid"]["num_queries"] == 4
    assert written["baselines"]["color_histogram"]["ilids_vid"]["rank1"] == 1.0
    assert found.protocols["ilids_vid"]["mAP"] == written["protocols"]["ilids_vid"]["mAP"]
    assert "± over 2 splits" in capsys.readouterr().out

    page = report.write_report(workdir).read_text()
    for a, b in [[own["protocols"]["ilids_vid"]["mAP"] for own in each]]:
        assert f"<td>{50 * (a + b):.1f} ± {100 * abs(a - b) / np.sqrt(2):.1f}</td>" in page
    assert all(f'<th scope="row">split {number}</th>' in page for number in (0, 1))
    assert "vreid report run/split_0" in page
    with pytest.raises(InputError, match=r"give the folder of one, .*split_0"):
        vreid_jax.load(workdir)

    before = _mtimes(workdir)
    experiment.train_and_evaluate(config, workdir)
    assert _mtimes(workdir) == before
    config.evaluation.metric = "cosine"
    experiment.train_and_evaluate(config, workdir)
    assert all(now > before[number] for number, now in _mtimes(workdir).items())
    assert json.loads((workdir / "results.json").read_text())["metric"] == "cosine"

    ordinary = [(workdir / name).read_bytes() for name in ("results.json", "config.json")]
    config.evaluation.dataset, config.data.path = "folder", str(write_folder(tmp_path / "people"))
    found = experiment.train_and_evaluate(config, workdir, "evaluate")
    assert [(workdir / name).read_bytes() for name in ("results.json", "config.json")] == ordinary
    other = json.loads((workdir / "results-folder.json").read_text())
    assert (other["dataset"], other["split"], other["trained_on"]) == ("folder", 0, "ilids_vid")
    each = [(own["split"], own["trained_on"]) for own in other["splits"]]
    assert each == [(0, "ilids_vid/split_0"), (0, "ilids_vid/split_1")]
    assert "toy on folder, split 0, trained on ilids_vid, seed 0" in found.table()
    assert other["path"] == str(tmp_path / "people")
    (workdir / "results-folder.json").unlink()
    config.data.path = str(tmp_path)
    with pytest.raises(InputError, match=r"split_0/results-folder\.json holds the scores of .*people: move it away"):
        experiment.train_and_evaluate(config, workdir, "evaluate")


def test_a_split_that_is_not_prepared_is_said_before_anything_is_trained(config, tmp_path, monkeypatch):
    monkeypatch.setitem(NUM_SPLITS, "ilids_vid", 3)
    with pytest.raises(
        InputError, match=r"'ilids_vid/split_2' is not prepared under .*; run `python data_prep/prepare.py"
    ):
        experiment.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_people_that_are_held_out_are_sought_from_the_first_camera_in_the_second(config, tmp_path):
    with config.ignore_type():
        config.split = 0
    config.data.validation = 0.5
    setup = make_setup(config, tmp_path)
    check_evaluation(setup)
    query, gallery = setup.test.query, setup.test.gallery
    assert (len(setup.train_source), setup.num_identities) == (4, 2)
    assert (query.camids.tolist(), gallery.camids.tolist()) == ([1, 1], [2, 2])
    assert set(query.pids) == set(gallery.pids)
    assert not set(query.pids) & set(setup.train_source.pids)


def test_models_of_all_splits_are_not_scored_on_one_split(config, tmp_path):
    for name in ("ilids_vid/split_1", "prid2011_video"):
        config.evaluation.dataset = name
        with pytest.raises(InputError, match=rf"evaluation.dataset is '{name}', and split is 'all': .*run/split_0"):
            experiment.train_and_evaluate(config, tmp_path / "run", "evaluate")


def test_a_run_is_not_scored_on_people_that_it_trained_on(config, tmp_path):
    with config.ignore_type():
        config.split = 1
    for name in ("ilids_vid/split_0", "ilids_vid"):  # without a division it is the first
        config.evaluation.dataset = name
        with pytest.raises(InputError, match=rf"evaluation.dataset is '{name}', split 0 of the .* trains on split 1: "):
            make_setup(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("own", "fair", "unfair"),
    [
        ("gaits", "gaits demo small", {"tiny": "2 of the 6"}),
        ("demo", "small jitter", {"tiny": "6 of the 6", "gaits": "12 of the 48"}),
        ("small", "small jitter", {"gaits": "48 of the 48", "demo": "48 of the 48"}),
        ("jitter", "small wild", {"demo": "48 of the 48"}),
    ],
)
def test_a_size_of_walkers_is_not_scored_by_a_run_on_its_people(own, fair, unfair, tmp_path):
    trained = Walkers(config=own, data_dir=tmp_path)
    for name in fair.split():
        sources.check_outfits(trained, Walkers(config=name, data_dir=tmp_path))
    for name, outfits in unfair.items():
        said = f"evaluation.dataset is walkers/{name}, and the run trains on people of walkers/{own} who wear {outfits} outfits"
        with pytest.raises(InputError, match=said):
            sources.check_outfits(trained, Walkers(config=name, data_dir=tmp_path))


def test_people_of_walkers_are_compared_where_another_size_is_scored(toy, tmp_path, monkeypatch):
    compared = []
    monkeypatch.setattr(setups, "check_outfits", lambda *sizes: compared.extend(each.info.full_name for each in sizes))
    make_setup(toy, tmp_path / "run")
    assert not compared
    toy.evaluation.dataset = "walkers/tiny"
    make_setup(toy, tmp_path / "run")
    assert compared == ["walkers/tiny/1.0.0", "walkers/tiny/1.0.0"]


def test_the_split_is_that_of_the_dataset_that_is_scored(config, toy, tmp_path, built, data_dir):
    with config.ignore_type():
        config.split = 1
    config.evaluation.dataset = "ilids_vid/split_1"
    assert make_setup(config, tmp_path / "run").test_split == 1
    config.evaluation.dataset = "walkers/tiny"
    (tmp_path / "data").mkdir()
    for folder in (built / "ilids_vid", data_dir / "walkers"):
        (tmp_path / "data" / folder.name).symlink_to(folder)
    config.data.data_dir = toy.data.data_dir = str(tmp_path / "data")
    assert make_setup(config, tmp_path / "run").test_split == 0
    toy.evaluation.dataset = "ilids_vid/split_1"
    setup = make_setup(toy, tmp_path / "other")
    assert (setup.settings.split, setup.test_split) == (0, 1)


def test_one_division_is_not_averaged_over_all_splits(config, tmp_path):
    config.data.name = "ilids_vid/split_1"
    with pytest.raises(InputError, match=r"config.data.name is 'ilids_vid/split_1', and the split to run is 0"):
        experiment.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_splits_that_were_not_trained_are_not_evaluated_and_nothing_is_written(config, tmp_path):
    with pytest.raises(InputError, match="split_0 holds no checkpoint to evaluate; train first"):
        experiment.train_and_evaluate(config, tmp_path / "run", "evaluate")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mode", ["evaluate", "train_and_evaluate"])
def test_an_evaluation_of_splits_that_fails_leaves_the_configuration(mode, config, tmp_path):
    open_workdir(tmp_path, config)
    for number in (0, 1):
        (tmp_path / f"split_{number}" / "checkpoints").mkdir(parents=True)
        (tmp_path / f"split_{number}" / "results.json").write_text("{}")
    before = (tmp_path / "config.json").read_bytes()

    def refuse(*_):
        raise InputError("refused")

    config.evaluation.metric = "cosine"
    with pytest.raises(InputError, match="refused"):
        all_splits.run_all_splits(config, tmp_path, mode, refuse)
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_dataset_of_one_split_has_no_all(toy, tmp_path):
    with toy.ignore_type():
        toy.split = "all"
    with pytest.raises(InputError, match="split is 'all'; dataset walkers has one split, 0"):
        experiment.train_and_evaluate(toy, tmp_path / "run")


def test_results_made_in_different_ways_are_not_averaged():
    content = {
        "system": "toy", "dataset": "ilids_vid", "seed": 0, "step": 4, "metric": "euclidean", "shuffled_frames": False,
        "train_seconds": 1.0, "evaluation_seconds": 1.0, "skipped_frames": 0, "invalid_queries": 0, "streams": {},
        "baselines": {}, "protocols": {"ilids_vid": {"rank1": 0.5}},
    }  # fmt: skip
    assert all_splits.gather([{**content, "validation": 0.5}]).extra["validation"] == 0.5
    other = {**content, "protocols": {"ilids_vid": {"mAP": 0.5}}}
    with pytest.raises(InputError, match="evaluated in different ways"):
        all_splits.gather([content, other])
    assert all_splits.gather([content]).std == {"ilids_vid": {"rank1": 0.0}}
    stopped = {**content, "unfinished": "the run was stopped"}
    with pytest.raises(
        InputError, match=r"not come equally far.*: of split_1, the run was stopped; go on with the training"
    ):
        all_splits.gather([content, stopped])
    assert all_splits.gather([stopped, stopped]).extra["unfinished"] == "the run was stopped"


def test_a_split_that_was_scored_before_its_end_is_trained_to_its_end(config, tmp_path):
    scores = {
        "num_queries": 4,
        "num_valid_queries": 4,
        "num_gallery": 4,
        "mAP": 0.5,
        "mAP_trapezoid": 0.5,
        "cmc": [0.5],
    }
    content = {"system": "toy", "dataset": "ilids_vid", "split": 0, "seed": 0, "step": 2}
    content["protocols"] = {"ilids_vid": {**scores, "rank1": 0.5, "rank5": 0.5, "rank10": 0.5, "rank20": 0.5}}
    (tmp_path / "config.json").write_text(config.to_json())
    for more, finished in (({}, True), ({"unfinished": "the run was stopped"}, False)):
        (tmp_path / "results.json").write_text(json.dumps(content | more))
        assert (all_splits._finished(config, tmp_path, "results.json") is not None) == finished
