"""Every system, the strong baseline and weights of other projects can be adapted."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vreid_jax import data, models
from vreid_jax.adaptation import AdaptationSettings, adapt, open_footage
from vreid_jax.adaptation.batches import training_clips
from vreid_jax.adaptation.step import make_step, new_state
from vreid_jax.config import default, from_file
from vreid_jax.inference import Model
from vreid_jax.inference.loading import stream_of

SYSTEMS = ("m3d", "nonlocal3d", "person_vlad", "clip_similarity", "strong_baseline")
NARROW = {"osnet_x0_25": {}, "resnet50_bnneck": {"width": 4}}
FEW = AdaptationSettings(rounds=1, steps=2, tracks_per_batch=4, least_tracks=6)


def config_of(name):
    """The configuration of a system, or of a model file with weights of another project."""
    if name in SYSTEMS:
        return from_file(f"{name}:walkers")
    config = default(name, "walkers")
    config.model = {"name": name, **NARROW[name]}
    config.data.update(height=64, width=32)
    config.evaluation.streams = {"feature": stream_of(models.entry(name))}
    return config


def model_of(name) -> Model:
    """A model with random weights and batch statistics of ones, without computing anything."""
    config = config_of(name)
    fields = {key: value for key, value in config.model.to_dict().items() if key != "name"}
    entry = models.entry(config.model.name)
    known = {"num_classes": 3} if "num_classes" in entry.fields else {}
    module = models.create(config.model.name, **fields, **known)
    length = max(stream.clip.length for stream in config.evaluation.streams.values())
    clips = jax.ShapeDtypeStruct((1, length, config.data.height, config.data.width, 3), jnp.float32)
    shapes = dict(jax.eval_shape(module.init, jax.random.key(0), clips))
    rng = np.random.default_rng(0)

    def drawn(shape):
        return rng.normal(0, 0.05, shape.shape).astype(np.float32)

    variables = {
        "params": jax.tree.map(drawn, shapes["params"]),
        "batch_stats": jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes.get("batch_stats", {})),
    }
    return Model(config.model.name, fields, config, variables, entry.mean, entry.std, {})


QUICK = ("person_vlad", "strong_baseline")  # to compile; the others are traced among the slow tests


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in (*SYSTEMS, *NARROW)]
)
def test_a_step_of_every_model_can_be_traced_and_trains_its_features(name):
    model = model_of(name)
    optimizer = optax.sgd(0.1)
    step = make_step(
        model.network,
        {stream: found.apply for stream, found in model.streams.items()},
        optimizer,
        temperature=0.1,
        synthetic_weight=1.0,
        decay=0.9,
    )
    pairs = jax.ShapeDtypeStruct((4, 4), bool)
    batch = {
        stream: {
            "frames": jax.ShapeDtypeStruct((4, clip.length, *model.extraction().size, 3), jnp.uint8),
            "positive": pairs,
            "negative": pairs,
        }
        for stream, clip in training_clips(model).items()
    }
    state = jax.eval_shape(lambda: new_state(model.variables, optimizer))
    after, losses = jax.eval_shape(step, 0, state, batch, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert losses["real"].shape == losses["synthetic"].shape == ()


@pytest.mark.slow
def test_clips_are_drawn_as_in_training_and_as_at_test_for_foreign_weights():
    clips = {
        name: training_clips(model_of(name)) for name in ("m3d", "strong_baseline", "clip_similarity", "osnet_x0_25")
    }
    assert {stream: clip.length for stream, clip in clips["m3d"].items()} == {"spatial": 1, "temporal": 8}
    assert (clips["strong_baseline"]["clips"].kind, clips["strong_baseline"]["clips"].length) == ("evenly", 4)
    assert clips["clip_similarity"]["clips"].num_clips == 1
    assert clips["osnet_x0_25"]["feature"].length == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SYSTEMS, *NARROW])
def test_every_model_is_adapted_to_a_video(name, walkers_video, tiny_builder, tmp_path):
    video, tracks = tmp_path / "video.avi", tmp_path / "tracks.txt"
    walkers_video(video, tracks)
    footage = open_footage([str(video)], tracks=str(tracks), frames=str(tmp_path / "cut"))
    model = model_of(name)
    done = adapt(model, footage, FEW, synthetic=data.TrackletSource(tiny_builder, "train"))
    assert np.isfinite([each.score for each in done.rounds]).all()
    assert np.isfinite(done.rounds[-1].loss)
    assert dataclasses.replace(done.model, variables=model.variables).fingerprint == model.fingerprint
