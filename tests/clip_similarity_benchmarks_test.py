"""What the benchmarks of clip similarity compute beside the library: weights, another form, tables."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.config import set_field
from vreid_jax.errors import InputError
from vreid_jax.models.layers.clip_similarity import ClipAggregation
from vreid_jax.models.layers.norm import l2_normalize

# Machine code that is not optimised compiles several times faster; the sums are the same.
QUICK = {"xla_backend_optimization_level": 0}
CONFIG = Path(__file__).parents[1] / "configs" / "clip_similarity.py"


@pytest.fixture
def benchmark(monkeypatch, request):
    monkeypatch.syspath_prepend(str(request.config.rootpath / "benchmarks"))
    return importlib.import_module


def test_sharing_the_products_of_the_first_layer_changes_nothing(benchmark):
    rng = np.random.default_rng(0)
    layer = ClipAggregation((5, 4))
    query, gallery = (l2_normalize(rng.standard_normal((2 + extra, 3, 6))) for extra in (0, 1))
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0.2, 1.5, leaf.shape), jnp.float32),
        jax.eval_shape(layer.init, jax.random.key(0), query, gallery),
    )
    other = benchmark("clip_pairs").shared_products
    shared, expected = jax.jit(
        lambda v: (other(v, query, gallery, "float32"), layer.apply(v, query, gallery)[0]), compiler_options=QUICK
    )(variables)
    np.testing.assert_allclose(shared, expected, atol=1e-5)


def test_the_weight_of_corrupted_pairs_is_relative_to_equal_weights(benchmark, monkeypatch):
    table = benchmark("clip_similarity_table")
    corrupted = np.array([[True, False]] * 3)

    def apply(variables, query, gallery, method):  # a pair counts 1, 1/2 or 1/3
        return 1 / (1 + query[:, None, :, None, 0] + gallery[None, :, None, :, 0])

    test = SimpleNamespace(
        tracklets=SimpleNamespace(pids=np.array([1, 1, 2]), camids=np.array([1, 2, 1])), query_rows=np.array([0])
    )
    setup = SimpleNamespace(network=SimpleNamespace(module=SimpleNamespace(apply=apply)), test=test)
    monkeypatch.setattr(table, "restore_variables", lambda setup: ({}, None))
    found = table.weights(setup, corrupted[..., None].astype(np.float32), corrupted)
    # Of four pairs the mean weight is (1 + 1/2 + 1/2 + 1/3) / 4 = 7/12.
    assert found == pytest.approx({"weight0": 12 / 7, "weight1": 6 / 7, "weight2": 4 / 7})
    none = table.weights(setup, np.zeros((3, 2, 1), np.float32), np.zeros((3, 2), bool))
    assert none == pytest.approx({"weight0": 1.0})


def test_the_tables_of_clip_similarity_show_the_figures_of_the_paper(benchmark):
    learned = {"mAP": 50.0, "rank1": 40.0, "weight0": 1.2, "weight1": 0.9, "weight2": 0.5}
    other = {**learned, "mAP": 52.0, "weight0": 1.4}
    text = benchmark("clip_similarity_table").table({"0": {"7": {"learned": learned}}, "1": {"7": {"learned": other}}})
    assert "| learned | 51.0 ± 1.4 (69.9) |" in text
    assert "| learned | 40.0 ± 0.0 (78.6) |" in text
    assert "| 0 corrupted clips | 1.30 ± 0.14 |" in text
    ablations = benchmark("clip_similarity_ablations")
    scores = {"0": {"L 4, M 8, L2": learned, "L_train 4, evenly, L_test 4": learned}}
    text = ablations.tables(scores, [4, 8])
    assert "| 8 | 50.0 (74.9) |  |" in text
    assert "| 4, evenly | 50.0 / 40.0 |  /  |  /  |  /  |" in text


@pytest.fixture
def features_run(benchmark, monkeypatch):
    """A run of I3D whose weights are `run.weight`; its clips' features are the weight, twice that where corrupted."""
    table = benchmark("clip_similarity_table")
    config = table.configure(SimpleNamespace(config=str(CONFIG)), {"seed": 3})
    settings = SimpleNamespace(seed=3, evaluation=SimpleNamespace(streams={"clips": None}))
    tracklets = SimpleNamespace(tracklets=None)
    run = SimpleNamespace(config=config, settings=settings, test=tracklets, network=None, extraction=None, weight=1.0)

    def restore_variables(setup):
        return {"params": {"features": {"kernel": np.float32([setup.weight])}, "other": {}}, "batch_stats": {}}, None

    def extract_stream(network, variables, *_, corrupt_all, **__):
        return np.full((2, 2, 1), variables["params"]["features"]["kernel"][0] * (1 + corrupt_all))

    monkeypatch.setattr(table, "restore_variables", restore_variables)
    monkeypatch.setattr(table, "extract_stream", extract_stream)
    return run


def test_the_clips_of_the_test_are_those_of_the_run_that_is_there(
    benchmark, features_run, monkeypatch, tmp_path, capsys
):
    table = benchmark("clip_similarity_table")
    np.save(tmp_path / "test-seed3.npy", np.full((2, 2, 2, 1), 7.0))  # as an earlier version named it

    def first():
        return table.test_features(features_run, tmp_path, table.weights_of(features_run))[:, 0, 0, 0].tolist()

    assert first() == [1.0, 2.0]
    assert "test-seed3.npy does not say which run it is of, and is not read" in capsys.readouterr().out
    features_run.weight = 5.0  # trained again
    assert first() == [5.0, 10.0]
    set_field(features_run.config, "logging.progress", False)
    monkeypatch.setattr(table, "extract_stream", lambda *_, **__: pytest.fail("what is there was extracted again"))
    assert first() == [5.0, 10.0]
    set_field(features_run.config, "evaluation.streams.clips.clip.num_clips", 4)
    monkeypatch.setattr(table, "extract_stream", lambda *_, **__: np.full((2, 4, 1), 6.0))
    assert first() == [6.0, 6.0]


def test_half_written_features_of_the_test_are_not_read(benchmark, features_run, monkeypatch, tmp_path):
    table = benchmark("clip_similarity_table")

    def save(file, array):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(KeyboardInterrupt):
        table.test_features(features_run, tmp_path, "weights")
    assert not list(tmp_path.iterdir())


def test_scores_of_another_training_or_configuration_are_refused(benchmark, tmp_path):
    table = benchmark("clip_similarity_table")
    arguments = SimpleNamespace(config=str(CONFIG), out=tmp_path, steps=5)
    config = table.configure(arguments, table.of_similarity(arguments, 3, 0))
    file, content = tmp_path / "scores.json", {"runs": {}, "scores": {"3": {}}}
    table.note_run(content, file, "features-seed3", config, "1234")
    table.write(file, json.dumps(content))
    for weights in ("1234", None):  # None: the run has been removed
        content = table.read_scores(file)
        table.note_run(content, file, "features-seed3", config, weights)
        assert content == json.loads(file.read_text())
    with pytest.raises(InputError, match=r"scores.json has scores of something else: features-seed3 has been trained"):
        table.note_run(content, file, "features-seed3", config, "5678")
    arguments.steps = 6
    config = table.configure(arguments, table.of_similarity(arguments, 3, 0))
    with pytest.raises(InputError, match=r"something else: phases.similarity.total_steps was 5, is 6\. Use another"):
        table.note_run(content, file, "features-seed3", config, "1234")


def test_scores_of_which_nothing_is_known_are_refused(benchmark, tmp_path):
    file = tmp_path / "scores.json"
    file.write_text(json.dumps({"0": {"7": {"learned": {"mAP": 50.0}}}}))
    with pytest.raises(InputError, match=r"scores.json does not say of which runs its scores are: use another folder"):
        benchmark("clip_similarity_table").read_scores(file)


@pytest.mark.slow
def test_the_tables_of_clip_similarity_are_measured_and_go_on(benchmark, monkeypatch, data_dir, tmp_path):
    table, ablations = benchmark("clip_similarity_table"), benchmark("clip_similarity_ablations")
    made = table.configure

    def configure(arguments, changes):
        config = made(arguments, changes)
        fields = {"data.name": "walkers/tiny", "data.data_dir": str(data_dir), "model.width": 4}
        fields |= {"logging.progress": False, "logging.tensorboard": False}
        for phase in ("features", "similarity"):
            fields |= {f"phases.{phase}.batch_size": 8, f"phases.{phase}.identities_per_batch": 2}
        for field, value in fields.items():
            set_field(config, field, value)
        return config

    for module in (table, ablations):
        monkeypatch.setattr(module, "configure", configure)
        monkeypatch.setattr(module, "setup_process", lambda: None)
    monkeypatch.setattr(ablations, "CLIPS", (1, 2))
    monkeypatch.setattr(ablations, "TEST_LENGTHS", (4,))

    def start(module, *more, steps=2):
        words = [f"--out={tmp_path}", "--seeds=3", f"--feature-steps={steps}", *more]
        monkeypatch.setattr("sys.argv", [f"{module.__name__}.py", *words])
        module.main()

    second = ("--corrupt=2", "--te=20", "--steps=2")
    start(table, *second)
    start(ablations, "--lengths=4")
    kept = {
        name: (tmp_path / name).read_text() for name in ("table.md", "scores.json", "ablations.md", "ablations.json")
    }
    content = json.loads(kept["scores.json"])
    found = content["scores"]["3"]["2"]
    assert len(found) == 2 + 10 + 1 + 1  # averages, top-t at evaluation and in training, learned
    assert all(0 < scores["mAP"] <= 100 for scores in found.values())
    assert found["learned"].keys() == {"mAP", "rank1", "weight0", "weight1", "weight2"}
    assert len(json.loads(kept["ablations.json"])["scores"]["3"]) == 3 + 1 + 4

    monkeypatch.setattr(table, "train_and_evaluate", lambda *_: pytest.fail("a finished run was trained again"))
    for name in ("table.md", "ablations.md"):
        (tmp_path / name).unlink()
    lost = {"3": {"2": {row: scores for row, scores in found.items() if row != "learned"}}}
    (tmp_path / "scores.json").write_text(json.dumps({**content, "scores": lost}))
    start(table, *second)
    (tmp_path / "ablations.json").unlink()
    start(ablations, "--lengths=4")
    assert {name: (tmp_path / name).read_text() for name in kept} == kept

    for module, more in ((table, second), (ablations, ("--lengths=4",))):
        with pytest.raises(InputError, match=r"features-seed3 .*phases\.features\.total_steps was 2, is 3"):
            start(module, *more, steps=3)
    with pytest.raises(InputError, match=r"phases\.similarity\.total_steps was 2, is 3"):
        start(table, *second[:2], "--steps=3")

    # Training is deterministic: another version of the library would find other weights.
    found_by = table.weights_of
    for module in (table, ablations):
        monkeypatch.setattr(
            module, "weights_of", lambda run: "other" if run.workdir.name == "features-seed3" else found_by(run)
        )
    for module, more in ((table, second), (ablations, ("--lengths=4",))):
        with pytest.raises(InputError, match="features-seed3 has been trained again"):
            start(module, *more)
    (tmp_path / "scores.json").unlink()
    with pytest.raises(InputError, match=r"topt100-m2-seed3 did not start from .*features-seed3 as that is now"):
        start(table, *second)
