"""Every system, the strong baseline and weights of other projects can be adapted."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vreid_jax import data, models
from vreid_jax.adaptation import AdaptationSettings, adapt, open_footage
from vreid_jax.adaptation.batches import real_batches, statistics_batches, synthetic_batches, training_clips
from vreid_jax.adaptation.linking import Relations
from vreid_jax.adaptation.step import make_step, new_state
from vreid_jax.config import default, from_file
from vreid_jax.inference import Model
from vreid_jax.inference.loading import stream_of

SYSTEMS = ("m3d", "nonlocal3d", "person_vlad", "clip_similarity", "strong_baseline", "two_stream_vgg")
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
    size = (config.data.height, config.data.width)
    clips = jax.ShapeDtypeStruct((1, length, *size, models.channels_of(module)), jnp.float32)
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
    channels = {stream: models.channels_of(model.module, found.apply) for stream, found in model.streams.items()}
    batch = {
        stream: {
            "frames": jax.ShapeDtypeStruct((4, clip.length, *model.extraction().size, channels[stream]), jnp.uint8),
            "positive": pairs,
            "negative": pairs,
        }
        for stream, clip in training_clips(model).items()
    }
    state = jax.eval_shape(lambda: new_state(model.variables, optimizer))
    after, losses = jax.eval_shape(step, 0, state, batch, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert losses["real"].shape == losses["synthetic"].shape == ()


class Noise:
    """Twelve tracks of eight frames of noise each."""

    pids, camids = np.arange(12), np.zeros(12, np.int64)
    num_frames = np.full(12, 8)
    tracklet_ids = np.array([f"t{row}" for row in range(12)])

    def __len__(self):
        return 12

    def read(self, row, frame_numbers):
        return np.random.default_rng(row).integers(0, 256, (8, 32, 16, 3), np.uint8)[frame_numbers]


@pytest.mark.parametrize(("stream", "channels"), [("spatial", 3), ("temporal", 20), ("max", 23)])
def test_every_batch_holds_what_its_stream_reads(stream, channels):
    model = model_of("two_stream_vgg")
    model.config.evaluation.headline = stream
    relations = Relations(np.arange(12), ~np.eye(12, dtype=bool), 0.5)
    apart = np.zeros((12, 12), bool)
    found = [
        next(real_batches(model, Noise(), relations, apart, FEW, number=1))[stream]["frames"],
        next(synthetic_batches(model, Noise(), FEW, number=1))[stream]["frames"],
        statistics_batches(model, Noise(), FEW)[0][stream],
    ]
    assert {frames.shape[1:] for frames in found} == {(1, *model.extraction().size, channels)}


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
