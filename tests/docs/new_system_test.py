"""The worked example of a system in one file does what its page says."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from vreid_jax import experiment, inference, losses, models
from vreid_jax.config import from_file
from vreid_jax.config.files import with_config_paths
from vreid_jax.config.phases import Phase
from vreid_jax.models import registry
from vreid_jax.training.network import Network
from vreid_jax.training.state import TrainState

QUICK = {"xla_backend_optimization_level": 0}
FILE = Path(__file__).parents[2] / "docs" / "statistics_pooling.py"


@pytest.fixture(scope="module")
def example(data_dir):
    """Its configuration, small; the model that it registers goes with this file."""
    config = from_file(f"{FILE}:walkers,data.name=walkers/tiny")
    with config.unlocked():
        config.data.update(data_dir=str(data_dir), height=32, width=16)
        config.model.width, config.model.feature_size = 4, 8
        config.logging.update(progress=False, tensorboard=False, every_steps=1)
        config.phases.clips.update(batch_size=8, identities_per_batch=4, total_steps=3)
    yield config
    registry._ENTRIES.pop("statistics_pooling", None)


@pytest.fixture(scope="module")
def run(example, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("example") / "run"
    experiment.train_and_evaluate(example, workdir)
    return workdir


def source():
    return sys.modules["vreid_jax_configuration_statistics_pooling.py"]


@pytest.mark.slow
def test_it_trains_evaluates_and_embeds(run):
    results = json.loads((run / "results.json").read_text())
    assert results["system"] == "statistics_pooling"
    assert results["step"] == 3
    assert results["protocols"]["walkers"]["num_valid_queries"] == 18
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, 16, 3), np.uint8)
    vector = inference.load(run).embed(frames)
    assert vector.shape == (8,)
    assert np.isfinite(vector).all()


def test_its_statistics_are_the_mean_and_deviation_over_time(example):
    module = models.create("statistics_pooling", width=4)
    clips = np.random.default_rng(1).normal(size=(2, 5, 32, 16, 3)).astype(np.float32)
    variables = jax.jit(module.init, compiler_options=QUICK)(jax.random.key(0), clips)
    # Batch statistics at their start: a convolution, divided by sqrt(1 + 1e-5), and ReLU, frame by frame in float64.
    x = clips.astype(np.float64)
    for number in range(4):
        kernel = np.asarray(variables["params"][f"conv{number}"]["kernel"], np.float64)
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2, ::2]
        x = np.maximum(np.einsum("bthwcij,ijcd->bthwd", windows, kernel) / np.sqrt(1 + 1e-5), 0)
    frames = x.mean((2, 3))
    expected = np.concatenate([frames.mean(1), np.sqrt(frames.var(1) + 1e-5)], 1)
    for apply in (module.apply, jax.jit(module.apply)):
        np.testing.assert_allclose(apply(variables, clips)["statistics"], expected, rtol=1e-4, atol=1e-6)


def test_its_preparation_gives_every_statistic_the_deviation_one(example):
    module = models.create("statistics_pooling", width=4)
    rng = np.random.default_rng(2)
    batches = [{"frames": rng.integers(0, 255, (4, 3, 32, 16, 3), np.uint8)} for _ in range(10)]
    variables = jax.jit(module.init, compiler_options=QUICK)(jax.random.key(0), np.zeros((1, 3, 32, 16, 3), np.float32))
    network = Network(module, (0.5,) * 3, (0.25,) * 3)
    state = TrainState(0, variables["params"], variables["batch_stats"], None, network=network)
    state = source().prepare("clips", state, lambda count: iter(batches[:count]))
    seen = np.concatenate([network(variables, batch["frames"])["statistics"] for batch in batches])
    deviations = seen.std(0)
    np.testing.assert_allclose(state.params["scale"] * deviations, deviations / (deviations + 1e-3), rtol=1e-4)


def test_its_similarity_is_the_mean_of_every_query_clips_best():
    rng = np.random.default_rng(3)
    query, gallery = rng.normal(size=(3, 2, 5)), rng.normal(size=(4, 6, 5))

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    expected = [[np.mean([max(cosine(a, b) for b in g) for a in q]) for g in gallery] for q in query]
    found = source().StatisticsPooling().similarity(query.astype(np.float32), gallery.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_loss_of_ones_own_stands_in_the_configuration_file_which_is_run_twice(tmp_path):
    blocks = FILE.with_name("new_system.md").read_text().split("```python\n")
    (loss,) = (block for block in blocks if "losses.register" in block.partition("```")[0])
    file = tmp_path / "mine.py"
    file.write_text(
        loss.partition("```")[0]
        + "from vreid_jax.config import default, phase\n\ndef get_config(argument=None):\n"
        + "    config = default('mine', 'walkers')\n"
        + "    config.phases = {'clips': phase(losses={'short_features': {'weight': 0.1}}, total_steps=1)}\n"
        + "    return config\n"
    )
    try:
        assert with_config_paths([f"--config={file}"]) == [f"--config={file}"]
        config = from_file(str(file))  # as the flag does
        assert config.phases.clips.losses.short_features.to_dict() == {"weight": 0.1, "free": 1.0}
        term = Phase.parse(config.phases.clips).losses["short_features"]
        assert term({"feature": np.array([[1.0, 2.0], [0.0, 0.5]])}, {}, None, None) == 2
    finally:
        losses.TERMS.pop("short_features", None)
