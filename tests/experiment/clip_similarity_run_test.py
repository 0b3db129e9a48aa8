"""The system of learned clip similarity from training to results, with a backbone that compiles in a second."""

import contextlib
import dataclasses
import json
import shutil

import cv2
import jax
import numpy as np
import pytest

import vreid_jax
from vreid_jax import data, experiment, models, report, retrieval
from vreid_jax.errors import InputError, Interrupted
from vreid_jax.evaluation import features as extraction
from vreid_jax.experiment.phases import phase_data, plan_phases, restore
from vreid_jax.experiment.preflight import check_evaluation, check_reached
from vreid_jax.experiment.setup import make_setup
from vreid_jax.report import insight
from vreid_jax.training import loop
from vreid_jax.training.checkpoints import Checkpoints, load_variables
from vreid_jax.training.position import Position
from vreid_jax.visualize import clip_pairs, pair_rows

M = 3  # clips of a tracklet there


@pytest.fixture(scope="module")
def finished(finished_clips):
    return finished_clips


def stored_clips(workdir):
    with np.load(workdir / "features" / "clips.npz") as table:
        return dict(table)


def losses(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def similarity_of(workdir, features, **apply):
    module = models.create("clip_similarity", num_classes=6, backbone="one_convolution", width=6, hidden=(5, 4))
    return np.asarray(module.apply(load_variables(workdir), features, features, method="similarity", **apply))


def mean_average_precision(setup, table, similarity):
    row = {name: number for number, name in enumerate(table["tracklet_ids"].tolist())}
    kept = setup.test.gallery.pids != -1
    query = [row[name] for name in setup.test.query.tracklet_ids.tolist()]
    gallery = [row[name] for name in setup.test.gallery.tracklet_ids[kept].tolist()]
    pids, camids = table["pids"], table["camids"]
    ranking = retrieval.rank(
        1 - similarity[np.ix_(query, gallery)], pids[query], pids[gallery], camids[query], camids[gallery]
    )
    return ranking.mAP


def test_a_run_trains_both_phases_and_scores_with_the_learned_similarity(finished):
    workdir, config, results = finished
    lines = losses(workdir)
    assert [line["phase"] for line in lines] == ["features"] * 3 + ["similarity"] * 4
    assert all("clip_triplet" in line for line in lines[3:])
    table = stored_clips(workdir)
    assert table["features"].shape == (21, M, 6)
    setup = make_setup(config, workdir)
    expected = mean_average_precision(setup, table, similarity_of(workdir, table["features"]))
    np.testing.assert_allclose(results.protocols["walkers"]["mAP"], expected, atol=1e-6)


def test_galleries_are_decided_by_thresholds_of_the_distance_they_are_searched_in(finished):
    workdir, config, _ = finished
    measured = json.loads((workdir / "results.json").read_text())["open_set"]
    assert (measured["metric"], measured["of_vectors"]["metric"]) == ("similarity", "euclidean")
    model = vreid_jax.load(workdir)
    assert model.about["open_set"] == measured["of_vectors"]
    assert model.about["scores_by"] == "similarity"
    setup = make_setup(config, workdir)
    table = stored_clips(workdir)
    np.testing.assert_allclose(model.embed_tracklets(setup.test.tracklets), table["features"].mean(1), atol=1e-5)
    row = {name: number for number, name in enumerate(table["tracklet_ids"].tolist())}
    vectors, pids = table["features"].mean(1).astype(np.float64), table["pids"]
    queries = [row[name] for name in setup.test.query.tracklet_ids.tolist()]
    others = np.sort(
        [np.linalg.norm(vectors[q] - vectors[g]) for q in queries for g in row.values() if pids[q] != pids[g]]
    )
    allowed = int(0.1 * len(others))
    place = measured["of_vectors"]["false_accept_rate"].index(0.1)
    assert (
        others[allowed - 1] * (1 - 1e-4) <= measured["of_vectors"]["threshold"][place] <= others[allowed] * (1 + 1e-4)
    )


def test_the_page_ranks_by_the_learned_similarity_and_shows_which_clips_count(finished, tmp_path):
    workdir, _, _ = finished
    text = report.write_report(workdir, tmp_path / "page.html", num_queries=2).read_text()
    assert "compare stored features" not in text  # the lists are those of the scores
    assert text.count('<figure class="sheet">') == 2
    assert "most: clips" in text


def test_only_the_aggregation_learns_in_the_second_phase(small, finished, tmp_path):
    workdir, _, _ = finished
    features = small(**{"phase_order": ("features",)})
    experiment.train_and_evaluate(features, tmp_path / "features", "train")
    before, after = load_variables(tmp_path / "features"), load_variables(workdir)
    for part in ("features", "classifier"):
        jax.tree.map(np.testing.assert_array_equal, before["params"][part], after["params"][part])
    jax.tree.map(np.testing.assert_array_equal, before["batch_stats"]["features"], after["batch_stats"]["features"])
    changed = jax.tree.map(
        lambda a, b: float(np.abs(a - b).max()), before["params"]["aggregation"], after["params"]["aggregation"]
    )
    assert all(change > 0 for change in jax.tree.leaves(changed))


@pytest.mark.slow
def test_cached_features_train_exactly_as_features_on_the_fly_do(small, finished, tmp_path):
    """Without augmentation: the same draws of tracklets and of corrupted clips."""
    workdir, _, _ = finished
    changes = {
        "phases.similarity.clip.corrupt": 2,
        "phases.similarity.cache_features": False,
        "phases.similarity.augment.flip": 0.0,
        "phases.similarity.augment.enlarge_crop": 0.0,
    }
    experiment.train_and_evaluate(small(**changes), tmp_path / "run", "train")
    cached, fly = ([line["loss"] for line in losses(folder)] for folder in (workdir, tmp_path / "run"))
    np.testing.assert_allclose(fly, cached, rtol=1e-4)


@pytest.mark.slow
def test_interrupted_in_the_cached_phase_and_resumed_is_the_same(small, finished, tmp_path, monkeypatch):
    workdir, config, _ = finished
    original = loop.stopped

    def stopped(stop, at_interval):
        del at_interval
        stopped.calls += 1
        return stopped.calls == 5 or original(stop, at_interval=False)

    stopped.calls = 0
    monkeypatch.setattr(loop, "stopped", stopped)
    with pytest.raises(Interrupted):
        experiment.train_and_evaluate(config, tmp_path / "run", "train")
    monkeypatch.setattr(loop, "stopped", original)
    experiment.train_and_evaluate(config, tmp_path / "run", "train")
    jax.tree.map(np.testing.assert_array_equal, load_variables(workdir), load_variables(tmp_path / "run"))


@pytest.mark.parametrize("kind", ["top_t", pytest.param("average", marks=pytest.mark.slow)])
def test_baselines_are_fields_of_the_evaluation(finished, small, tmp_path, kind):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    trained = {"phases.similarity.apply.kind": kind} if kind == "top_t" else {}
    config = small(**trained, **{"phases.similarity.clip.corrupt": 2, "evaluation.similarity.kind": kind, "evaluation.similarity.t": 20, "evaluation.similarity.normalize": False})  # fmt: skip
    (workdir / "config.json").write_text(config.to_json())  # as if it had been trained so
    results = experiment.train_and_evaluate(config, workdir, "evaluate")
    table = stored_clips(workdir)
    similarity = similarity_of(workdir, table["features"], kind=kind, t=20, normalize=False)
    setup = make_setup(config, workdir)
    np.testing.assert_allclose(
        results.protocols["walkers"]["mAP"], mean_average_precision(setup, table, similarity), atol=1e-6
    )


@pytest.mark.parametrize("mode", ["evaluate", "train_and_evaluate"])
def test_a_finished_run_is_not_scored_by_the_similarity_that_it_did_not_train(finished, small, tree, mode):
    workdir = finished[0]
    before = tree(workdir)
    config = small(**{"phases.similarity.clip.corrupt": 2, "evaluation.similarity.kind": "top_t"})
    words = r"'projection' of the network untrained: .* train with phases\.similarity\.apply\.kind=top_t, or score by 'learned' or"
    with pytest.raises(InputError, match=words):
        experiment.train_and_evaluate(config, workdir, mode)
    assert tree(workdir) == before


def test_a_new_run_that_is_scored_trains_what_it_is_scored_by(small, tmp_path):
    other = {"phases.similarity.apply.kind": "top_t"}
    with pytest.raises(InputError, match="'learned', and the evaluation would score the part 'aggregation'"):
        experiment.train_and_evaluate(small(**other), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    check_evaluation(make_setup(small(**other), tmp_path / "run"), scores=False)
    check_evaluation(make_setup(small(**other, **{"evaluation.similarity.kind": "top_t"}), tmp_path / "run"))


def test_a_run_stopped_before_its_similarity_is_not_scored_by_it(finished, small):
    setup = make_setup(small(**{"phases.similarity.clip.corrupt": 2}), finished[0])
    with pytest.raises(
        InputError, match=r"stopped in its phase 'features', .* by what only a later one trains; go on with"
    ):
        check_reached(setup, Position("features", 3, 0, 1.0))
    assert "after 1 of 4 steps" in check_reached(setup, Position("similarity", 1, 3, 1.0))


def test_what_init_from_brings_is_what_its_run_trained(finished, small, tmp_path):
    features = {"phase_order": ("features",), "init_from": str(finished[0])}
    check_evaluation(make_setup(small(**features), tmp_path / "run"))
    with pytest.raises(InputError, match="'projection' of the network untrained"):
        check_evaluation(make_setup(small(**features, **{"evaluation.similarity.kind": "top_t"}), tmp_path / "run"))
    with pytest.raises(InputError, match="'aggregation' of the network untrained"):
        check_evaluation(make_setup(small(**features, init_patterns=("features/.*",)), tmp_path / "run"))


def test_an_exact_shortlist_gives_a_run_the_first_ranks_of_the_whole_list(finished, small, tmp_path, monkeypatch):
    monkeypatch.setattr("vreid_jax.evaluation.pair_distances.FEWEST", 1)
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    changes = {"phases.similarity.clip.corrupt": 2, "evaluation.shortlist": 2, "evaluation.shortlist_exact": True}
    results = experiment.train_and_evaluate(small(**changes), workdir, "evaluate")
    assert results.protocols["walkers"]["cmc"][:2] == finished[2].protocols["walkers"]["cmc"][:2]


def test_the_picture_of_clip_pairs_shows_two_tracklets_of_different_cameras(finished, tmp_path, capsys):
    out = tmp_path / "pairs.png"
    assert clip_pairs.main([f"--workdir={finished[0]}", f"--out={out}", "--shown=1"]) == 0
    assert cv2.imread(str(out)).shape[0] == 2 * (128 + 18)
    assert clip_pairs.main([f"--workdir={finished[0]}", f"--out={tmp_path / 'x.png'}", "--query=nobody"]) == 2
    assert "there is no tracklet 'nobody'" in capsys.readouterr().err


@pytest.mark.parametrize("shown_by", ["command", "report"])
def test_the_frames_of_clip_pairs_are_those_whose_weights_are_shown(finished, small, tmp_path, monkeypatch, shown_by):
    workdir = tmp_path / "run"
    shutil.copytree(finished[0], workdir)
    fields = {"corrupt": M, "stride": 2}
    streams = {f"evaluation.streams.clips.clip.{name}": value for name, value in fields.items()}
    experiment.train_and_evaluate(small(**{"phases.similarity.clip.corrupt": 2, **streams}), workdir, "evaluate")
    drawn = []
    rows = pair_rows.pair_rows
    monkeypatch.setattr(pair_rows, "pair_rows", lambda *given: drawn.append(given) or rows(*given))
    monkeypatch.setattr(insight, "pair_rows", pair_rows.pair_rows)
    if shown_by == "command":
        assert clip_pairs.main([f"--workdir={workdir}", f"--out={tmp_path / 'pairs.png'}"]) == 0
    else:
        report.write_report(workdir, tmp_path / "page.html", num_queries=2)
    model, table = vreid_jax.load(workdir), stored_clips(workdir)
    assert drawn
    for query, gallery, alpha, cosines, *_ in drawn:
        features = []
        for frames in (query, gallery):
            size = (model.config.data.height, model.config.data.width)
            frames = data.resize(frames.reshape(-1, *frames.shape[2:]), *size).reshape(*frames.shape[:2], *size, 3)
            features.append(model.network(model.variables, frames, stage="features")["feature"])
            # A tracklet of the table has these features, and so the frames are what was corrupted, with the stride.
            assert np.abs(table["features"] - np.asarray(features[-1])).max((1, 2)).min() < 1e-4
        units = [np.asarray(f) / np.linalg.norm(f, axis=1, keepdims=True) for f in features]
        np.testing.assert_allclose(cosines, units[0] @ units[1].T, atol=1e-4)
        expected = model.module.apply(model.variables, features[0][None], features[1][None], method="importance")
        np.testing.assert_allclose(alpha, np.asarray(expected)[0, 0], atol=1e-4)


def test_tables_kept_in_a_folder_are_read_by_the_next_run(finished, small, tmp_path, monkeypatch):
    workdir, config, _ = finished
    config = small(**{"phases.similarity.clip.corrupt": 2, "data.feature_dir": str(tmp_path / "tables")})
    setup = make_setup(config, workdir)
    plans = plan_phases(setup)
    with contextlib.closing(Checkpoints(workdir, keep=3)) as checkpoints:
        state, _ = restore(setup, plans, checkpoints)
    inputs = phase_data(setup, plans["similarity"])
    table = inputs.clip_features(state)
    np.testing.assert_array_equal(table, state.extra["cache"]["clip_features"])
    monkeypatch.setattr(extraction, "extract_stream", None)
    np.testing.assert_array_equal(inputs.clip_features(state), table)
    assert len(list((tmp_path / "tables").iterdir())) == 1
    # The same names of other pictures: another table.
    records = tmp_path / "records"
    content = bytearray(inputs.source.files[0].read_bytes())
    content[len(content) // 2] ^= 1
    records.write_bytes(content)
    monkeypatch.setattr(inputs.source, "files", [records])
    monkeypatch.setattr(inputs.source, "folder", tmp_path)
    monkeypatch.setattr(extraction, "extract_stream", lambda *_, **__: np.zeros_like(table))
    assert not inputs.clip_features(state).any()
    assert len(list((tmp_path / "tables").iterdir())) == 2


def test_corruption_at_test_chooses_between_clean_and_corrupted_features(finished):
    """What the table over M_max relies on: two extractions serve every M_max."""
    workdir, config, _ = finished
    setup = make_setup(config, workdir)
    variables = load_variables(workdir)

    def extract(corrupt, everything=False):
        stream = setup.settings.evaluation.streams["clips"]
        stream = dataclasses.replace(stream, clip=dataclasses.replace(stream.clip, corrupt=corrupt))
        return extraction.extract_stream(
            setup.network, variables, setup.test.tracklets, stream, setup.extraction, corrupt_all=everything
        )

    clean, corrupted, drawn = extract(0), extract(0, everything=True), extract(3)
    chosen = np.stack(
        [data.draw_corrupted(M, 3, data.tracklet_generator(0, name)) for name in setup.test.tracklets.tracklet_ids]
    )
    assert 0.2 < chosen.mean() < 0.8
    np.testing.assert_allclose(drawn, np.where(chosen[:, :, None], corrupted, clean), atol=1e-5)
    assert np.abs(clean - corrupted).max() > 1e-3


def test_a_table_of_tracklets_needs_a_system_that_compares_sets(small, tmp_path):
    config = small(**{"evaluation.streams.clips.clip.kind": "all"})
    with pytest.raises(InputError, match="average is False in an evaluation stream"):
        experiment.train_and_evaluate(config, tmp_path / "run")
    config = small(**{"phases.similarity.clip.kind": "consecutive"})
    with pytest.raises(InputError, match="cache_features needs"):
        experiment.train_and_evaluate(config, tmp_path / "run")
    config = small(**{"evaluation.similarity.kind": "topt"})
    with pytest.raises(InputError, match="'topt'; it is one of learned, top_t, average"):
        experiment.train_and_evaluate(config, tmp_path / "run")
    config = small(**{"evaluation.shortlist": -1})
    with pytest.raises(InputError, match=r"evaluation\.shortlist is -1"):
        experiment.train_and_evaluate(config, tmp_path / "run")
