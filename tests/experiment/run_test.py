import json
import os
import re
import shutil
import signal

import jax
import numpy as np
import pytest

from vreid_jax import experiment, models, retrieval
from vreid_jax.data import TrackletSource
from vreid_jax.datasets import load_builder
from vreid_jax.errors import InputError, Interrupted
from vreid_jax.evaluation.features import fuse
from vreid_jax.experiment import phases, run, scoring
from vreid_jax.experiment.phases import phase_seed
from vreid_jax.experiment.setup import make_setup
from vreid_jax.experiment.workdir import check_results, open_workdir
from vreid_jax.training.checkpoints import load_variables
from vreid_jax.training.network import normalisation

PROTOCOL = {"num_queries", "num_valid_queries", "num_gallery", "mAP", "mAP_trapezoid", "rank1", "rank5", "rank10", "rank20", "cmc"}  # fmt: skip


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def test_a_run_leaves_what_is_promised(finished):
    workdir, config, found = finished
    assert {path.name for path in workdir.iterdir()} == {
        "config.json", "metrics.jsonl", "checkpoints", "features", "results.json", ".lock",
    }  # fmt: skip
    assert json.loads((workdir / "config.json").read_text()) == json.loads(config.to_json())
    steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 9))
    assert results(workdir)["protocols"] == found.protocols


def test_results_have_every_promised_field_with_sane_values(finished):
    content = results(finished[0])
    head = {name: content[name] for name in ("system", "dataset", "split", "seed", "step")}
    assert head == {"system": "toy", "dataset": "walkers", "split": 0, "seed": 0, "step": 8}
    assert (content["skipped_frames"], content["invalid_queries"]) == (0, 0)
    assert content["streams"].keys() == {"spatial", "temporal"}
    assert content["baselines"].keys() == {"untrained", "color_histogram"}
    assert content["twins"].keys() == {"system", "spatial", "temporal"}
    scored = [content["protocols"], *content["streams"].values(), *content["baselines"].values()]
    for protocols in scored:
        assert protocols.keys() == content["protocols"].keys()
        for scores in protocols.values():
            assert scores.keys() == PROTOCOL
            # walkers/tiny: 18 queries; 21 of the 23 gallery tracklets are not junk.
            assert (scores["num_queries"], scores["num_valid_queries"], scores["num_gallery"]) == (18, 18, 21)
            assert 0 < scores["mAP"] <= 1
            assert 0 < scores["mAP_trapezoid"] <= 1
            assert np.all(np.diff(scores["cmc"]) >= 0)
            assert 0 <= scores["rank1"] <= scores["rank5"] <= scores["rank10"] <= scores["rank20"] <= 1
            assert [scores[f"rank{k}"] for k in (1, 5, 10, 20)] == [scores["cmc"][k - 1] for k in (1, 5, 10, 20)]
    for scores in content["twins"].values():
        assert scores["num_pairs"] > 0
        assert 0 <= scores["rank1"] <= 1


def test_features_are_stored_with_their_tracklets(finished):
    workdir, _, _ = finished
    names = {path.stem for path in (workdir / "features").iterdir()}
    assert names == {"spatial", "temporal", "untrained-spatial", "untrained-temporal", "color_histogram"}
    with np.load(workdir / "features" / "temporal.npz") as table:
        assert table["features"].shape == (21, 8)
        assert len(set(table["tracklet_ids"])) == 21
        assert -1 not in table["pids"]


def test_the_table_names_dataset_protocol_queries_and_gallery(finished):
    table = finished[2].table()
    assert "toy on walkers/tiny, split 0, seed 0, step 8" in table
    assert "18 queries, 18 valid, gallery 21" in table
    for row in ("stream spatial", "stream temporal", "untrained", "color histogram", "twins, system"):
        assert row in table


def test_a_finished_run_is_evaluated_again_without_training(finished, tmp_path, monkeypatch, tree):
    _, config, found = finished
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    (workdir / "results.json").unlink()
    before = tree(workdir / "checkpoints")
    monkeypatch.setattr(phases, "run_phase", lambda *_, **__: pytest.fail("trained again"))
    again = experiment.train_and_evaluate(config, workdir)
    assert again.protocols == found.protocols
    assert results(workdir)["step"] == 8
    assert tree(workdir / "checkpoints") == before
    assert experiment.train_and_evaluate(config, workdir, "evaluate").protocols == found.protocols


@pytest.mark.parametrize(
    ("failing", "mode"), [("baseline", "evaluate"), ("results", "evaluate"), ("baseline", "train_and_evaluate")]
)
def test_an_evaluation_that_fails_midway_leaves_what_the_one_before_has_written(
    failing, mode, finished, toy, tmp_path, monkeypatch, tree
):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    toy.evaluation.metric, toy.evaluation.streams.temporal.clip.stride = (
        "xqda",
        1,
    )  # so that other files would be written
    before = tree(workdir)

    def fail(*_):
        raise InputError("the disk is full")

    where = (scoring, "color_histogram") if failing == "baseline" else (scoring.Results, "write")
    monkeypatch.setattr(*where, fail)
    with pytest.raises(InputError, match="the disk is full"):
        experiment.train_and_evaluate(toy, workdir, mode)
    assert tree(workdir) == before


def test_the_control_with_shuffled_frames_leaves_the_ordinary_evaluation_as_it_is(finished, toy, tmp_path, tree):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    before = tree(workdir)
    toy.evaluation.shuffle_frames = True
    toy.evaluation.baselines = ("color_histogram",)
    found = experiment.train_and_evaluate(toy, workdir)
    after = tree(workdir)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {
        "results-shuffled.json",
        "features/spatial-shuffled.npz",
        "features/temporal-shuffled.npz",
        "features/color_histogram-shuffled.npz",
    }
    content = json.loads((workdir / "results-shuffled.json").read_text())
    assert content["shuffled_frames"] is True
    assert content["protocols"] == found.protocols
    assert content["streams"]["temporal"] != results(workdir)["streams"]["temporal"]


def test_a_run_is_scored_on_another_dataset_beside_its_own(finished, toy, tmp_path, write_folder, tree):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    before = tree(workdir)
    toy.evaluation.dataset = "walkers/tiny"  # by its name: the same tracklets, so the same scores
    toy.evaluation.baselines = ()
    found = experiment.train_and_evaluate(toy, workdir, "evaluate")
    new = set(tree(workdir)) - set(before)
    assert new == {"results-walkers_tiny.json"} | {f"features/{s}-walkers_tiny.npz" for s in ("spatial", "temporal")}
    assert found.protocols == results(workdir)["protocols"]
    write_folder(tmp_path / "people")
    toy.evaluation.dataset, toy.data.path = "folder", str(tmp_path / "people")
    found = experiment.train_and_evaluate(toy, workdir, "evaluate")
    assert (found.dataset, list(found.protocols)) == ("folder", ["folder"])
    assert found.protocols["folder"]["num_queries"] == 3
    assert found.extra["trained_on"] == "walkers/tiny"
    stored = (workdir / "results-folder.json").read_bytes()
    assert json.loads(stored)["path"] == str(tmp_path / "people")
    toy.data.path = str(tmp_path / "people" / ".." / "others")
    with pytest.raises(
        InputError, match=rf"results-folder\.json holds the scores of {tmp_path}/people: move it away, or"
    ):
        experiment.train_and_evaluate(toy, workdir, "evaluate")
    assert (workdir / "results-folder.json").read_bytes() == stored
    toy.data.path = str(tmp_path / "people" / ".." / "people")  # the same one
    check_results(workdir, toy)
    toy.evaluation.shuffle_frames = True  # results of their own
    toy.data.path = str(tmp_path / "others")
    check_results(workdir, toy)
    toy.evaluation.shuffle_frames = False
    (workdir / "results-folder.json").write_text("{}")
    with pytest.raises(InputError, match="holds the scores of a folder that it does not name"):
        check_results(workdir, toy)
    toy.evaluation.dataset, toy.data.path = "walkers/tinyy", ""
    with pytest.raises(InputError, match="there is no dataset 'walkers/tinyy'"):
        experiment.train_and_evaluate(toy, workdir, "evaluate")


def test_frames_are_normalised_as_the_configuration_says(toy):
    entry = models.entry("toy")
    assert normalisation(toy.data, entry) == {"mean": entry.mean, "std": entry.std}
    toy.data.mean = (0.1, 0.2, 0.3)
    assert normalisation(toy.data, entry) == {"mean": (0.1, 0.2, 0.3), "std": entry.std}


def stored_table(workdir, name):
    with np.load(workdir / "features" / f"{name}.npz") as table:
        return dict(table)


def system_table(workdir):
    """The fused features of the system, from the stored ones of its streams, and their tracklets."""
    tables = [stored_table(workdir, name) for name in ("spatial", "temporal")]
    units = [t["features"] / np.linalg.norm(t["features"], axis=1, keepdims=True) for t in tables]
    return np.concatenate(units, axis=1), {name: tables[0][name] for name in ("tracklet_ids", "pids", "camids")}


def ranked(distances, test, labels):
    """The ranking of a [N, N] matrix over the stored tracklets, queries and gallery as the dataset has them."""
    row = {tracklet: number for number, tracklet in enumerate(labels["tracklet_ids"].tolist())}
    kept = test.gallery.pids != -1
    query = np.array([row[name] for name in test.query.tracklet_ids.tolist()])
    gallery = np.array([row[name] for name in test.gallery.tracklet_ids[kept].tolist()])
    pids, camids = labels["pids"], labels["camids"]
    table = distances[np.ix_(query, gallery)] if isinstance(distances, np.ndarray) else distances(query, gallery)
    return retrieval.rank(table, pids[query], pids[gallery], camids[query], camids[gallery])


@pytest.mark.parametrize("metric", ["xqda", pytest.param("kissme", marks=pytest.mark.slow)])
def test_a_learned_metric_is_fitted_on_the_training_split_used_and_kept(finished, toy, tmp_path, metric):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    toy.evaluation.metric = metric
    found = experiment.train_and_evaluate(toy, workdir, "evaluate")
    names = {path.name for path in (workdir / "metrics").iterdir()}
    tables = ("system", "spatial", "temporal", "untrained-system", "color_histogram-system")
    assert names == {f"{metric}-{name}.npz" for name in tables}
    assert results(workdir)["metric"] == metric
    setup = make_setup(toy, workdir)
    features, labels = system_table(workdir)
    kind = {"xqda": retrieval.XQDA, "kissme": retrieval.KISSME}[metric]
    stored = kind.load(workdir / "metrics" / f"{metric}-system.npz")
    np.testing.assert_allclose(
        ranked(stored.distance(features, features), setup.test, labels).mAP,
        found.protocols["walkers"]["mAP"],
        rtol=1e-6,
    )
    # And it is the metric of the training split's features: fitted here once more, on features extracted here.
    training = fuse(scoring.stream_features(setup, setup.train_source, "", load_variables(workdir)))
    first = np.zeros(len(training), bool)
    pids, camids = setup.train_source.pids, setup.train_source.camids
    for pid in np.unique(pids):
        first |= (pids == pid) & (camids == camids[pids == pid].min())
    again = kind().fit(training[first], training[~first], pids[first], pids[~first])
    np.testing.assert_allclose(again.distance(features, features), stored.distance(features, features), rtol=1e-4)
    assert found.protocols != finished[2].protocols


def test_reranked_scores_are_those_of_the_library_on_the_stored_features(finished, toy, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    toy.evaluation.rerank = True
    toy.evaluation.baselines = ()
    found = experiment.train_and_evaluate(toy, workdir, "evaluate")
    assert found.protocols == finished[2].protocols
    setup = make_setup(toy, workdir)
    features, labels = system_table(workdir)

    def distances(query, gallery):
        place = np.array([np.flatnonzero(gallery == row)[0] for row in query])
        return retrieval.rerank(features[query], features[gallery], query_index=place)

    expected = ranked(distances, setup.test, labels).summary()
    assert expected["mAP"] != found.protocols["walkers"]["mAP"]
    np.testing.assert_allclose(results(workdir)["reranked"]["walkers"]["mAP"], expected["mAP"], rtol=1e-6)
    assert "re-ranked" in found.table()


def test_open_set_thresholds_are_those_of_the_stored_features(finished):
    workdir, config, _ = finished
    stored = results(workdir)["open_set"]
    setup = make_setup(config, workdir)
    features, labels = system_table(workdir)
    row = {tracklet: number for number, tracklet in enumerate(labels["tracklet_ids"].tolist())}
    genuine, impostor = [], []
    for query in map(row.get, setup.test.query.tracklet_ids.tolist()):
        for gallery in range(len(features)):
            distance = np.linalg.norm(features[query] - features[gallery])
            same = labels["pids"][query] == labels["pids"][gallery]
            if not same:
                impostor.append(distance)
            elif labels["camids"][query] != labels["camids"][gallery]:
                genuine.append(distance)
    assert stored["false_accept_rate"] == [0.0001, 0.001, 0.01, 0.05, 0.1]
    for rate, threshold, accepted in zip(
        stored["false_accept_rate"], stored["threshold"], stored["true_accept_rate"], strict=True
    ):
        if threshold is not None:
            assert np.mean(np.array(impostor) <= threshold - 1e-5) <= rate
            np.testing.assert_allclose(np.mean(np.array(genuine) <= threshold), accepted, atol=0.03)
    assert 0 < stored["equal_error_rate"] < 0.6


def test_the_seed_of_a_phase_comes_from_its_name_not_its_position():
    assert phase_seed(0, "temporal") == phase_seed(0, "temporal")
    seeds = {phase_seed(seed, name) for seed in range(20) for name in ("spatial", "temporal", "joint", "")}
    assert len(seeds) == 80
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_another_seed_is_another_run(finished, toy, tmp_path):
    toy.seed = 1
    toy.phase_order = ("spatial",)
    toy.phases.spatial.total_steps = 1
    experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    first, second = (
        json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for folder in (finished[0], tmp_path / "run")
    )
    assert first != second


@pytest.mark.slow
def test_what_another_run_of_the_system_brings_is_not_overwritten(finished, toy, tmp_path):
    """The temporal stream starts from the spatial one, but not where it was trained before."""
    toy.init_from = str(finished[0])
    toy.phases.temporal.total_steps = 1
    toy.phases.temporal.optimizer.learning_rate = 0.0
    experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    brought, now = (load_variables(folder)["params"] for folder in (finished[0], tmp_path / "run"))
    jax.tree.map(np.testing.assert_array_equal, now["temporal"], brought["temporal"])
    assert not np.array_equal(now["spatial"]["conv"]["kernel"], brought["spatial"]["conv"]["kernel"])


def test_the_digest_of_a_split_knows_its_tracklets_and_their_order(data_dir):
    builder = load_builder("walkers/tiny", data_dir=data_dir)
    first, same, other = (TrackletSource(builder, split) for split in ("train", "train", "query"))
    assert first.digest() == same.digest() != other.digest()
    assert re.fullmatch("[0-9a-f]{16}", first.digest())
    for name in ("pids", "camids", "tracklet_ids", "num_frames"):
        changed = TrackletSource(builder, "train")
        setattr(changed, name, getattr(changed, name)[::-1])
        assert changed.digest() != first.digest()


def test_a_signal_while_a_run_is_read_stops_it(finished, toy, monkeypatch):
    restored = run.restore_variables

    def signalled(setup):
        os.kill(os.getpid(), signal.SIGTERM)
        return restored(setup)

    monkeypatch.setattr(run, "restore_variables", signalled)
    monkeypatch.setattr(run, "score", lambda *_: pytest.fail("the signal was forgotten"))
    with pytest.raises(Interrupted, match="run the same command again") as leaving:
        experiment.train_and_evaluate(toy, finished[0], "evaluate")
    assert leaving.value.exit_code == 128 + signal.SIGTERM


def test_an_evaluation_says_what_it_changes_of_the_run(finished, toy, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(finished[0], workdir)
    before = (workdir / "config.json").read_text()
    toy.evaluation.shuffle_frames = True
    experiment.train_and_evaluate(toy, workdir, "evaluate")
    assert (workdir / "config.json").read_text() == before
    assert "toy on walkers/tiny, frames shuffled, split 0" in capsys.readouterr().out
    toy.evaluation.shuffle_frames, toy.evaluation.metric = False, "cosine"
    experiment.train_and_evaluate(toy, workdir, "evaluate")
    assert json.loads((workdir / "config.json").read_text())["evaluation"]["metric"] == "cosine"
    assert "evaluated by cosine, and searched by cosine from now on (before: euclidean)" in capsys.readouterr().out
    toy.evaluation.metric = "xqda"  # learned for scoring: it compares no vectors of a gallery
    open_workdir(workdir, toy)
    assert "evaluated by xqda, and searched by euclidean from now on (before: cosine)" in capsys.readouterr().out


def test_an_evaluation_that_fails_leaves_configuration_and_results(finished, toy, tmp_path, monkeypatch):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    before = [(workdir / name).read_bytes() for name in ("config.json", "results.json")]

    def refuse(*_):
        raise InputError("refused")

    monkeypatch.setattr(scoring.evaluation, "open_set", refuse)
    toy.evaluation.metric = "cosine"
    with pytest.raises(InputError, match="refused"):
        experiment.train_and_evaluate(toy, workdir, "evaluate")
    assert [(workdir / name).read_bytes() for name in ("config.json", "results.json")] == before


def test_modes(toy, tmp_path):
    with pytest.raises(InputError, match="mode is 'test'; it is one of train_and_evaluate, train, evaluate"):
        experiment.train_and_evaluate(toy, tmp_path, "test")
    with pytest.raises(InputError, match="holds no checkpoint to evaluate; train first"):
        experiment.train_and_evaluate(toy, tmp_path, "evaluate")
