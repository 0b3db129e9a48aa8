import dataclasses
import json
import os
import runpy
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from vreid_jax import experiment, models, retrieval
from vreid_jax.errors import InputError
from vreid_jax.models import registry
from vreid_jax.training import loop
from vreid_jax.training.network import normalisation
from vreid_jax.training.signals import Interrupted

PROTOCOL = {"num_queries", "num_valid_queries", "num_gallery", "mAP", "mAP_trapezoid", "rank1", "rank5", "rank10", "rank20", "cmc"}  # fmt: skip


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def tree(folder):
    """Every file below a folder and its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def outcome(config, workdir):
    """The state at the newest checkpoint, the place, and the batch that would come next."""
    run = experiment.Run(config, workdir, "evaluate")
    state, place = run.restored()
    batches = run._batches(place.phase, run.lengths[place.phase] + 1)
    if place.iterator is not None:
        batches.set_state(place.iterator)
    place.seconds = 0.0
    following = next(batches)
    run.checkpoints.close()
    return jax.device_get(state), place, following


def assert_bitwise_equal(first, second):
    (state, place, batch), (other, other_place, other_batch) = first, second
    assert place == other_place
    assert jax.tree.structure(state) == jax.tree.structure(other)
    for part in ("params", "batch_stats", "opt_state", "step", "extra"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, part), getattr(other, part))
    jax.tree.map(np.testing.assert_array_equal, batch, other_batch)


class SignalAt:
    """Sends this process SIGTERM while the given step of a run computes its batch."""

    def __init__(self, monkeypatch, at):
        self.count, self.at = 0, at
        put = loop.put_batch

        def put_and_signal(batch, mesh):
            self.count += 1
            if self.count == self.at:
                os.kill(os.getpid(), signal.SIGTERM)
            return put(batch, mesh)

        monkeypatch.setattr(loop, "put_batch", put_and_signal)


@pytest.fixture(scope="module")
def finished(toy_module, data_dir, tmp_path_factory):
    """A workdir with a run of 4 + 4 steps, which later tests look at and do not change."""
    config = toy_module.get_config("walkers")
    config.data.data_dir = str(data_dir)
    workdir = tmp_path_factory.mktemp("finished") / "run"
    found = experiment.train_and_evaluate(config, workdir)
    return workdir, config, found


def test_a_run_leaves_what_is_promised(finished):
    workdir, config, found = finished
    assert {path.name for path in workdir.iterdir()} == {
        "config.json", "metrics.jsonl", "checkpoints", "features", "results.json",
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
            # walkers/tiny: 18 queries; 21 of the 23 gallery tracklets are no junk.
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
    assert "toy on walkers, split 0, seed 0, step 8" in table
    assert "18 queries, 18 valid, gallery 21" in table
    for row in ("stream spatial", "stream temporal", "untrained", "color histogram", "twins, system"):
        assert row in table


def test_a_finished_run_is_evaluated_again_without_training(finished, monkeypatch):
    workdir, config, found = finished
    (workdir / "results.json").unlink()
    before = tree(workdir / "checkpoints")
    monkeypatch.setattr(experiment, "run_phase", lambda *_, **__: pytest.fail("trained again"))
    again = experiment.train_and_evaluate(config, workdir)
    assert again.protocols == found.protocols
    assert results(workdir)["step"] == 8
    assert tree(workdir / "checkpoints") == before
    assert experiment.train_and_evaluate(config, workdir, "evaluate").protocols == found.protocols


def test_the_control_with_shuffled_frames_leaves_the_ordinary_evaluation_as_it_is(finished, toy, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    before = {name: content for name, content in tree(workdir).items() if not name.startswith("config")}
    toy.evaluation.shuffle_frames = True
    toy.evaluation.baselines = ("color_histogram",)
    found = experiment.train_and_evaluate(toy, workdir, "evaluate")
    after = tree(workdir)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) - {"config.json"} == {
        "results-shuffled.json",
        "features/spatial-shuffled.npz",
        "features/temporal-shuffled.npz",
        "features/color_histogram-shuffled.npz",
    }
    content = json.loads((workdir / "results-shuffled.json").read_text())
    assert content["shuffled_frames"] is True
    assert content["protocols"] == found.protocols
    assert content["streams"]["temporal"] != results(workdir)["streams"]["temporal"]


def test_a_run_is_scored_on_another_dataset_beside_its_own(finished, toy, tmp_path, data_dir):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    before = tree(workdir)
    toy.evaluation.dataset = "walkers/tiny"  # by its name: the same tracklets, so the same scores
    toy.evaluation.baselines = ()
    found = experiment.train_and_evaluate(toy, workdir, "evaluate")
    new = set(tree(workdir)) - set(before)
    assert new == {"results-walkers_tiny.json"} | {f"features/{s}-walkers_tiny.npz" for s in ("spatial", "temporal")}
    assert found.protocols == results(workdir)["protocols"]
    toy.evaluation.dataset = "walkers/tinyy"
    with pytest.raises(InputError, match="there is no dataset 'walkers/tinyy'"):
        experiment.train_and_evaluate(toy, workdir, "evaluate")


def test_frames_are_normalised_as_the_configuration_says(toy):
    entry = models.entry("toy")
    assert normalisation(toy.data, entry) == {"mean": entry.mean, "std": entry.std}
    toy.data.mean = (0.1, 0.2, 0.3)
    assert normalisation(toy.data, entry) == {"mean": (0.1, 0.2, 0.3), "std": entry.std}


def system_table(workdir):
    """The fused features of the system, from the stored ones of its streams, and their tracklets."""
    tables = [np.load(workdir / "features" / f"{name}.npz") for name in ("spatial", "temporal")]
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


@pytest.mark.parametrize("metric", ["xqda", "kissme"])
def test_a_learned_metric_is_fitted_on_the_training_split_used_and_kept(finished, toy, tmp_path, metric):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    toy.evaluation.metric = metric
    found = experiment.train_and_evaluate(toy, workdir, "evaluate")
    names = {path.name for path in (workdir / "metrics").iterdir()}
    tables = ("system", "spatial", "temporal", "untrained-system", "color_histogram-system")
    assert names == {f"{metric}-{name}.npz" for name in tables}
    assert results(workdir)["metric"] == metric
    run = experiment.Run(toy, workdir, "evaluate")
    features, labels = system_table(workdir)
    kind = {"xqda": retrieval.XQDA, "kissme": retrieval.KISSME}[metric]
    stored = kind.load(workdir / "metrics" / f"{metric}-system.npz")
    np.testing.assert_allclose(
        ranked(stored.distance(features, features), run.test, labels).mAP, found.protocols["walkers"]["mAP"], rtol=1e-6
    )
    # And it is the metric of the training split's features: fitted here once more, on features extracted here.
    state, _ = run.restored()
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    training = run._tables(run.train_source, "", variables)["system"]
    first = np.zeros(len(training), bool)
    pids, camids = run.train_source.pids, run.train_source.camids
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
    run = experiment.Run(toy, workdir, "evaluate")
    features, labels = system_table(workdir)

    def distances(query, gallery):
        place = np.array([np.flatnonzero(gallery == row)[0] for row in query])
        return retrieval.rerank(features[query], features[gallery], query_index=place)

    expected = ranked(distances, run.test, labels).summary()
    assert expected["mAP"] != found.protocols["walkers"]["mAP"]
    np.testing.assert_allclose(results(workdir)["reranked"]["walkers"]["mAP"], expected["mAP"], rtol=1e-6)
    assert "re-ranked" in found.table()


def test_open_set_thresholds_are_those_of_the_stored_features(finished):
    workdir, config, _ = finished
    stored = results(workdir)["open_set"]
    run = experiment.Run(config, workdir, "evaluate")
    features, labels = system_table(workdir)
    row = {tracklet: number for number, tracklet in enumerate(labels["tracklet_ids"].tolist())}
    genuine, impostor = [], []
    for query in map(row.get, run.test.query.tracklet_ids.tolist()):
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
    assert experiment.phase_seed(0, "temporal") == experiment.phase_seed(0, "temporal")
    seeds = {experiment.phase_seed(seed, name) for seed in range(20) for name in ("spatial", "temporal", "joint", "")}
    assert len(seeds) == 80
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("at", [2, 3, 4, 6], ids=lambda at: f"step {at}")
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(finished, toy, tmp_path, monkeypatch, at):
    """Steps 2 and 3 are inside the first phase, 4 is its last, 6 is inside the second."""
    SignalAt(monkeypatch, at)
    with pytest.raises(Interrupted, match=f"stopped at step {at}"):
        experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    workdir, config, _ = finished
    assert_bitwise_equal(outcome(config, workdir), outcome(toy, tmp_path / "run"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    expected = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(line["step"], line["loss"]) for line in expected]


def test_a_run_stopped_between_its_checkpoints_equals_one_that_was_killed_there(finished, toy, tmp_path, monkeypatch):
    """What comes after the last checkpoint is lost and done again: step 5 dies, step 4 was saved."""
    put = loop.put_batch
    seen = []

    def fail(batch, mesh):
        seen.append(1)
        if len(seen) == 6:
            raise MemoryError
        return put(batch, mesh)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "put_batch", fail)
        with pytest.raises(MemoryError):
            experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    workdir, config, _ = finished
    assert_bitwise_equal(outcome(config, workdir), outcome(toy, tmp_path / "run"))


def test_what_a_loss_and_a_system_remember_restarts_bit_for_bit(toy, tmp_path, monkeypatch):
    """The table of OIM, whose shape the configuration gives, and an array that only `prepare` knows of."""
    entry = registry.entry("toy")

    def prepare(phase, state, batches):
        cached = sum(batch["frames"].mean((1, 2, 3)) for batch in batches(2))
        return entry.prepare(phase, state, batches).replace(extra={**state.extra, "cached": cached})

    monkeypatch.setitem(registry._ENTRIES, "toy", dataclasses.replace(entry, prepare=prepare))
    toy.phases.temporal.losses.update({"softmax": {"weight": 0.0}, "triplet": {"weight": 0.0}, "oim": {"weight": 1.0}})
    toy.phases.spatial.total_steps = 2
    experiment.train_and_evaluate(toy, tmp_path / "whole", "train")
    SignalAt(monkeypatch, 4)
    with pytest.raises(Interrupted, match="stopped at step 4"):
        experiment.train_and_evaluate(toy, tmp_path / "parts", "train")
    half = outcome(toy, tmp_path / "parts")[0].extra["oim"].table
    experiment.train_and_evaluate(toy, tmp_path / "parts", "train")
    whole, parts = (outcome(toy, tmp_path / name) for name in ("whole", "parts"))
    assert_bitwise_equal(whole, parts)
    table = whole[0].extra["oim"].table
    lengths = np.linalg.norm(table, axis=1)
    assert table.shape == (16, 8)
    np.testing.assert_allclose(lengths[lengths > 0], 1, rtol=1e-5)
    assert 0 < (half.any(1)).sum() <= (lengths > 0).sum()
    assert np.any(half != table)
    assert whole[0].extra["cached"].shape == (8, 3)


def test_a_longer_run_continues_a_finished_one(toy, tmp_path):
    toy.phase_order = ("spatial",)
    toy.phases.spatial.schedule.name = "constant"
    toy.phases.spatial.total_steps = 2
    experiment.train_and_evaluate(toy, tmp_path / "parts", "train")
    toy.phases.spatial.total_steps = 4
    experiment.train_and_evaluate(toy, tmp_path / "parts", "train")
    experiment.train_and_evaluate(toy, tmp_path / "whole", "train")
    assert_bitwise_equal(outcome(toy, tmp_path / "whole"), outcome(toy, tmp_path / "parts"))


def test_another_seed_is_another_run(finished, toy, tmp_path):
    toy.seed = 1
    toy.phases.temporal.total_steps = 1
    experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    first, second = (
        json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for folder in (finished[0], tmp_path / "run")
    )
    assert first != second


def test_a_workdir_of_another_configuration_names_the_fields_and_stays_as_it_is(finished, toy):
    workdir, _, _ = finished
    before = tree(workdir)
    toy.seed = 5
    toy.phases.temporal.optimizer.learning_rate = 0.5
    with pytest.raises(InputError) as error:
        experiment.train_and_evaluate(toy, workdir)
    assert "seed was 0, is 5" in str(error.value)
    assert "phases.temporal.optimizer.learning_rate was 0.001, is 0.5" in str(error.value)
    assert "spatial" not in str(error.value)
    assert tree(workdir) == before


def test_a_folder_that_holds_something_else_is_refused(toy, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        experiment.train_and_evaluate(toy, tmp_path)
    assert tree(tmp_path) == {"thesis.tex": b"precious"}
    with pytest.raises(InputError, match="is a file; give a folder"):
        experiment.train_and_evaluate(toy, tmp_path / "thesis.tex")


def test_a_start_from_another_model_lists_both_sides(finished, toy, tmp_path):
    toy.init_from = str(finished[0])
    toy.model.width = 6
    with pytest.raises(InputError, match="is of another model; in it without a place: ") as error:
        experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    theirs, ours = str(error.value).split("in the model without a value")
    assert "params/spatial/norm/scale (4,) for params/spatial/norm/scale (6,)" in theirs
    assert "params/spatial/norm/scale" in ours


def test_parameters_start_from_another_run(finished, toy, tmp_path):
    workdir, config, _ = finished
    toy.init_from = str(workdir)
    toy.phase_order = ("spatial",)
    toy.phases.spatial.total_steps = 1
    toy.phases.spatial.optimizer.learning_rate = 0.0
    experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    old, new = outcome(config, workdir)[0], outcome(toy, tmp_path / "run")[0]
    jax.tree.map(np.testing.assert_array_equal, old.params, new.params)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"phase_order": ("spatial", "third")}, "phase_order names 'third', but the phases are spatial, temporal"),
        ({"phase_order": ()}, "phase_order is empty"),
        ({"data.mean": (0.5,)}, r"data.mean is \(0.5,\), expected three numbers"),
        ({"data.std": (0.2, 0.2, 0.0)}, r"data.std is .*, std above 0"),
        ({"dtype": "float16"}, "dtype is 'float16'; it is one of auto, float32, bfloat16"),
        ({"model.name": "toyy"}, "unknown model 'toyy', did you mean 'toy'"),
        ({"phases.temporal.identities_per_batch": 20, "phases.temporal.batch_size": 40}, "16 identities, fewer than"),
        ({"phases.temporal.train": ("nothing",)}, "no parameter matches the phase's train"),
        ({"phases.temporal.losses.triplet.weight": 0.0, "phases.temporal.losses.softmax.weight": 0.0}, "weight 0"),
        ({"evaluation.baselines": ("colour",)}, "evaluation.baselines names 'colour'"),
        ({"phases.temporal.clip.kind": "all"}, "clip.kind is 'all'"),
        ({"evaluation.streams.spatial.clip.kind": "random"}, "clip.kind is 'random'"),
        ({"evaluation.protocols": ("marss",)}, "marss"),
        ({"evaluation.selections": ("some/all",)}, "selections names 'some/all'; it is PROBE/GALLERY"),
        (
            {"evaluation.metric": "manhattan"},
            "evaluation.metric is 'manhattan'; it is one of euclidean, .* xqda, kissme",
        ),
        ({"seed": -1}, "seed is -1; it must not be negative"),
    ],
)
def test_what_is_wrong_is_said_before_any_training(toy, tmp_path, changes, words):
    toy.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=words):
        experiment.train_and_evaluate(toy, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_modes(toy, tmp_path):
    with pytest.raises(InputError, match="mode is 'test'; it is one of train_and_evaluate, train, evaluate"):
        experiment.train_and_evaluate(toy, tmp_path, "test")
    with pytest.raises(InputError, match="holds no checkpoint to evaluate; train first"):
        experiment.train_and_evaluate(toy, tmp_path, "evaluate")


@pytest.mark.slow
def test_the_narrow_two_stream_network_restarts_bit_for_bit(data_dir, tmp_path, monkeypatch):
    """The real system in place of the toy: stopped inside its second phase, after its temporal kernels have moved."""
    file = Path(__file__).parents[1] / "configs" / "m3d.py"
    config = runpy.run_path(str(file))["get_config"]("walkers,clip_length=2,data.name=walkers/tiny,model.width=4")
    with config.unlocked():
        config.model.stage_sizes = (1, 1, 1, 1)
    config.data.update(data_dir=str(data_dir), height=32, width=16)
    for phase in config.phases.values():
        phase.update(batch_size=8, total_steps=3)
    config.logging.update(every_steps=1, tensorboard=False, progress=False)
    config.evaluation.batch_frames = 64
    found = experiment.train_and_evaluate(config, tmp_path / "whole")
    assert found.step == 6
    assert found.streams.keys() == {"spatial", "temporal"}
    SignalAt(monkeypatch, 5)
    with pytest.raises(Interrupted, match="stopped at step 5"):
        experiment.train_and_evaluate(config, tmp_path / "parts", "train")
    experiment.train_and_evaluate(config, tmp_path / "parts", "train")
    assert_bitwise_equal(outcome(config, tmp_path / "whole"), outcome(config, tmp_path / "parts"))
