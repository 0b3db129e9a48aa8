"""Whole runs of networks that read optical flow, small: flow on first use, every fusion, embedding, going on."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import vreid_jax
from vreid_jax import data, experiment, models
from vreid_jax.config import from_file, set_field
from vreid_jax.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def own_data(data_dir, tmp_path):
    """A copy of walkers/tiny, beside which flow may be written."""
    shutil.copytree(data_dir / "walkers", tmp_path / "data" / "walkers", ignore=shutil.ignore_patterns("flow"))
    return tmp_path / "data"


def configuration(name, data_dir, **changes):
    config = from_file(f"{CONFIGS / name}")
    for field, value in {
        "data.name": "walkers/tiny",
        "data.data_dir": str(data_dir),
        "evaluation.baselines": (),
        "logging.tensorboard": False,
        "logging.progress": False,
        "checkpoint.every_minutes": 0.0,
        **changes,
    }.items():
        set_field(config, field, value)
    for phase in config.phases.values():
        with phase.unlocked():
            phase.batch_size, phase.total_steps = 8, 2
    return config


@pytest.mark.slow
def test_two_vgg_networks_are_trained_scored_embedded_with_and_aggregated(own_data, tmp_path):
    small = {"model.width": 2, "model.hidden_size": 8}
    config = configuration("two_stream_vgg.py:walkers,fusion=max", own_data, **small)
    results = experiment.train_and_evaluate(config, tmp_path / "vgg")
    assert set(results.streams) == {"max", "average", "product", "scores", "spatial", "temporal"}
    assert results.protocols == results.streams["max"]
    assert set(results.twins) == {"system", *results.streams}
    assert len(list(own_data.rglob("*.flow"))) == 3

    # A model embeds frames whose flow is not stored as the evaluation did those whose flow is.
    model = vreid_jax.load(tmp_path / "vgg")
    builder = vreid_jax.datasets.load_builder("walkers/tiny", data_dir=own_data, progress=False)
    query = data.TrackletSource(builder, "query")
    vector = model.embed(query.read(0, np.arange(query.num_frames[0])))
    with np.load(tmp_path / "vgg" / "features" / "max.npz") as table:
        assert table["tracklet_ids"][0] == query.tracklet_ids[0]
        np.testing.assert_allclose(vector, table["features"][0], rtol=1e-3, atol=1e-5)

    shuffled = configuration(
        "two_stream_vgg.py:walkers,fusion=max", own_data, **small, **{"evaluation.shuffle_frames": True}
    )
    control = experiment.train_and_evaluate(shuffled, tmp_path / "vgg", "evaluate")
    with np.load(tmp_path / "vgg" / "features" / "temporal-shuffled.npz") as table:
        assert np.isfinite(table["features"]).all()
    assert control.extra["shuffled_frames"]

    going_on = {
        "model.num_clusters": 3,
        "model.kmeans_batches": 1,
        "init_from": str(tmp_path / "vgg"),
        "init_patterns": ("(spatial|temporal)/.*",),
        "phase_order": ("vlad",),
    }
    config = configuration("two_stream_vgg.py:walkers,fusion=vlad", own_data, **small, **going_on)
    experiment.train_and_evaluate(config, tmp_path / "vlad")
    with np.load(tmp_path / "vlad" / "features" / "vlad.npz") as table:
        assert table["features"].shape[1] == 2 * 3 * 16
        np.testing.assert_allclose(np.linalg.norm(table["features"], axis=1), 1, rtol=1e-5)


@pytest.mark.slow
def test_a_stream_alone_headlines_its_own_score_and_a_later_one_starts_from_it(data_dir, tmp_path):
    small = {"model.width": 4}
    spatial = configuration("m3d.py:walkers,streams=spatial", data_dir, **small)
    found = experiment.train_and_evaluate(spatial, tmp_path / "spatial")
    assert (found.streams, found.step) == ({}, 2)
    both = experiment.train_and_evaluate(configuration("m3d.py", data_dir, **small), tmp_path / "both")
    assert set(both.streams) == {"spatial", "temporal"}
    assert found.protocols == both.streams["spatial"]  # what is headlined is the stream, nothing fused with it

    start = {**small, "init_from": str(tmp_path / "spatial")}
    temporal = configuration("m3d.py:walkers,streams=temporal", data_dir, **start)
    found = experiment.train_and_evaluate(temporal, tmp_path / "temporal")
    assert (found.streams, found.step) == ({}, 2)
    assert set(found.twins) == {"system"}
    with (
        np.load(tmp_path / "temporal" / "features" / "temporal.npz") as alone,
        np.load(tmp_path / "both" / "features" / "temporal.npz") as beside,
    ):
        np.testing.assert_allclose(alone["features"], beside["features"], rtol=1e-4, atol=1e-5)
    model = vreid_jax.load(tmp_path / "temporal")
    assert model.embed(np.zeros((8, 64, 32, 3), np.uint8)).shape == (128,)


@pytest.mark.parametrize(("behind", "field"), [("", "flow"), (",model.temporal=flow", "i3d")])
def test_the_recipe_of_another_temporal_stream_is_refused_before_anything_is_written(behind, field, data_dir, tmp_path):
    changes = {"model.width": 4, "model.temporal": field}
    config = configuration(f"m3d.py:walkers{behind}", data_dir, **changes)
    said = (
        f"model.temporal is '{field}', and the clips of its stream have length .* write model.temporal={field} behind"
    )
    with pytest.raises(InputError, match=said):
        experiment.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # A recipe whose evaluation alone was set fails in its phase.
    length = config.phases.temporal.clip.length
    with pytest.raises(InputError, match=said):
        models.check_clip(models.create(**config.model), length, config.phases.temporal.apply)


@pytest.mark.slow
def test_flow_is_the_temporal_stream_of_m3d(own_data, tmp_path):
    config = configuration("m3d.py:walkers,model.temporal=flow", own_data, **{"model.width": 4})
    assert config.phases.temporal.apply.stream == "temporal"
    results = experiment.train_and_evaluate(config, tmp_path / "run")
    assert set(results.streams) == {"spatial", "temporal"}
