"""The PersonVLAD system: its outputs, its baselines, whole tracklets, and centres from the training set."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vreid_jax import models
from vreid_jax.config import evaluation_stream
from vreid_jax.config.run import Stream
from vreid_jax.errors import InputError
from vreid_jax.evaluation.features import ExtractionOptions, extract_stream
from vreid_jax.models.layers.kmeans import cell_statistics, kmeans
from vreid_jax.models.systems import person_vlad
from vreid_jax.models.systems.person_vlad import prepare
from vreid_jax.training.network import Network
from vreid_jax.training.state import TrainState

QUICK = {"xla_backend_optimization_level": 0}
TINY = {
    "width": 2, "part_layer": "conv5b", "num_parts": 3, "hidden_size": 6, "feature_size": 5, "num_clusters": 4,
    "alpha": 20.0, "clip_length": 8,
}  # fmt: skip
SIZE = (8, 32, 16, 3)


@pytest.fixture
def build(initialised):
    def make(**fields):
        module = models.create("person_vlad_small", **{**TINY, **fields})
        clips = jnp.asarray(np.random.default_rng(0).standard_normal((3, *SIZE)), jnp.float32)
        return module, initialised(module, clips), clips

    return make


def apply(module, variables, clips, **arguments):
    return jax.jit(lambda v, x: module.apply(v, x, **arguments), compiler_options=QUICK)(variables, clips)


def both_norms(sums):
    """With the 1e-12 under the roots: a cluster of almost nothing stays almost nothing."""
    rows = (sums / np.sqrt(np.square(sums).sum(-1, keepdims=True) + 1e-12)).reshape(*sums.shape[:-2], -1)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def sums_by_hand(descriptors, parameters, weights=None, alpha=20.0):
    """Eq. 4 over all descriptors given, each as often as its weight says, float64."""
    centres = np.asarray(parameters["centres"], np.float64)
    sums = np.zeros(centres.shape)
    vectors = np.asarray(descriptors, np.float64).reshape(-1, centres.shape[1])
    for f, weight in zip(vectors, np.ones(len(vectors)) if weights is None else weights, strict=True):
        share = np.exp(-alpha * np.square(f[None] - centres).sum(1))
        sums += weight * (share / share.sum())[:, None] * (f[None] - centres)
    return sums


def weights_by_hand(maps, descriptors):
    """What each descriptor of one or several clips [M, t, h, w, P] counts, in the order of `descriptors`."""
    by_part = np.moveaxis(np.asarray(maps, np.float64), -1, 0)  # part, clip, position
    return by_part.sum(0).reshape(-1) if descriptors == "cubic" else by_part.reshape(-1)


def test_the_feature_is_the_vlad_of_the_parts(build):
    module, variables, clips = build(num_classes=6, classifiers=("c3d", "feature"))
    outputs = apply(module, variables, clips)
    assert outputs["part_maps"].shape == (3, 1, 2, 1, 3)
    assert outputs["descriptors"].shape == (3, 3, 5)
    assert outputs["logits"].shape == (3, 6)
    for clip in range(3):
        expected = both_norms(sums_by_hand(outputs["descriptors"][clip], variables["params"]["vlad"]))
        np.testing.assert_allclose(outputs["feature"][clip], expected, atol=1e-3)
    np.testing.assert_allclose(module.part_maps(variables, clips), outputs["part_maps"], atol=1e-6)
    alone = apply(module, variables, clips, stream="c3d")
    pooled = np.asarray(alone["pooled"])
    np.testing.assert_allclose(alone["feature"], pooled / np.linalg.norm(pooled, axis=1, keepdims=True), rtol=1e-4)
    assert alone["logits"].shape == (3, 6)
    assert "part_maps" not in alone


@pytest.mark.parametrize(
    ("fields", "size", "descriptors"),
    [
        ({"parts": "global"}, 5, 1),
        ({"parts": "stripes"}, 20, 5),
        ({"parts": "grid"}, 20, 25),
        ({"num_parts": 1}, 20, 1),
        ({"aggregation": "average"}, 15, 3),
        ({"aggregation": "max"}, 15, 3),
        ({"assignment": "hard"}, 20, 3),
        ({"descriptors": "locations"}, 20, 6),
        ({"descriptors": "locations", "aggregation": "average"}, 15, 6),
        ({"descriptors": "cubic", "part_layer": "conv4b"}, 32, 16),
        ({"descriptors": "cubic", "aggregation": "max"}, 24, 2),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_baselines_are_one_field_away(fields, size, descriptors):
    module = models.create("person_vlad_small", **{**TINY, **fields})
    clips = jax.ShapeDtypeStruct((2, *SIZE), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), clips)
    outputs = jax.eval_shape(module.apply, variables, clips)
    assert outputs["feature"].shape == (2, size)
    assert outputs["descriptors"].shape == (2, descriptors, 8 if fields.get("descriptors") == "cubic" else 5)
    assert ("vlad" in variables["params"]) == module.aggregates


def test_averaged_parts_are_concatenated(build):
    module, variables, clips = build(aggregation="average")
    outputs = apply(module, variables, clips)
    feature = np.asarray(outputs["feature"]).reshape(3, 3, 5)
    own = feature / np.linalg.norm(feature, axis=2, keepdims=True).clip(1e-9)
    np.testing.assert_allclose(own, outputs["descriptors"], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(feature.reshape(3, -1), axis=1), 1, rtol=1e-4)


def test_the_sum_over_a_cubic_counts_every_position_of_every_part(build):
    module, variables, clips = build(descriptors="cubic", part_layer="conv4b")
    outputs = apply(module, variables, clips)
    centres = np.asarray(variables["params"]["vlad"]["centres"], np.float64)
    for clip in range(3):
        features = np.asarray(outputs["conv4b"][clip], np.float64)
        sums = np.zeros(centres.shape)
        for position in np.ndindex(features.shape[:3]):
            f = features[position] / np.sqrt(np.square(features[position]).sum() + 1e-12)
            share = np.exp(-20.0 * np.square(f[None] - centres).sum(1))
            for part in range(3):
                weight = float(outputs["part_maps"][(clip, *position, part)])
                sums += weight * (share / share.sum())[:, None] * (f[None] - centres)
        np.testing.assert_allclose(outputs["feature"][clip], both_norms(sums), atol=1e-3)


@pytest.mark.parametrize("descriptors", ["locations", pytest.param("cubic", marks=pytest.mark.slow)])
def test_the_positions_of_all_clips_of_a_tracklet_are_summed_by_the_weights_of_their_maps(build, descriptors):
    module, variables, clips = build(descriptors=descriptors)
    maps = jax.tree.map(lambda x: 50 * x, variables["params"]["maps"])  # so that they tell positions apart
    variables = {"params": {**variables["params"], "maps": maps}}
    apart = apply(module, variables, clips)
    together = apply(module, variables, clips.reshape(1, 24, *SIZE[1:]))
    # The descriptors of a clip by itself, [P, L, D], put side by side.
    found = np.asarray(apart["descriptors"], np.float64)
    found = found.reshape(3, 1 if descriptors == "cubic" else 3, -1, found.shape[-1]).swapaxes(0, 1)
    weights = weights_by_hand(apart["part_maps"], descriptors)
    assert weights.min() < 0.6 * weights.max()
    expected = both_norms(sums_by_hand(found, variables["params"]["vlad"], weights))
    np.testing.assert_allclose(together["feature"][0], expected, atol=1e-3)


@pytest.mark.parametrize(
    "fields",
    [{}, *(pytest.param({"aggregation": each}, marks=pytest.mark.slow) for each in ("average", "max"))],
)
def test_clips_of_a_tracklet_are_convolved_one_by_one_and_aggregated_once(build, fields):
    module, variables, clips = build(num_classes=6, classifiers=("c3d",), **fields)
    apart = apply(module, variables, clips)
    joined = clips.reshape(1, 24, *SIZE[1:])
    together = apply(module, variables, joined)
    np.testing.assert_allclose(together["conv5b"], apart["conv5b"], rtol=1e-5, atol=1e-6)
    assert together["descriptors"].shape == (1, 9, 5)
    by_part = np.asarray(apart["descriptors"]).transpose(1, 0, 2)  # one a part and clip
    np.testing.assert_allclose(together["descriptors"][0].reshape(3, 3, 5), by_part, atol=1e-5)
    if fields:  # without VLAD: the mean or the maximum over clips of what each would give before its normalisation
        best = fields["aggregation"] == "max"
        features, maps = (np.asarray(apart[name], np.float64) for name in ("conv5b", "part_maps"))
        weighted = maps[..., :, None] * features[..., None, :]  # clip, t, h, w, part, channel
        x = weighted.max((1, 2, 3)) if best else weighted.mean((1, 2, 3))
        layers = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"]["parts"])
        for number in (1, 2):
            x = np.maximum(np.einsum("mpc,pcd->mpd", x, layers[f"kernel{number}"]) + layers[f"bias{number}"], 0)
        expected = (x.max(0) if best else x.mean(0)).reshape(-1)
        np.testing.assert_allclose(together["feature"][0], expected / np.linalg.norm(expected), atol=1e-4)
    else:
        expected = both_norms(sums_by_hand(apart["descriptors"], variables["params"]["vlad"]))
        np.testing.assert_allclose(together["feature"][0], expected, atol=1e-3)
    alone, three = (apply(module, variables, x, stream="c3d") for x in (clips, joined))
    pooled = np.asarray(alone["pooled"], np.float64).mean(0)
    np.testing.assert_allclose(three["feature"][0], pooled / np.linalg.norm(pooled), rtol=1e-4)
    assert three["logits"].shape == (1, 6)


def test_frames_that_are_not_whole_clips_are_refused():
    module = models.create("person_vlad_small", **TINY)
    with pytest.raises(InputError, match="clips of 20 frames are neither one clip of 8 frames nor several"):
        jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 20, *SIZE[1:]), jnp.float32))


class LongTracklets:
    """Two tracklets, one of 2,000 frames, drawn when they are asked for."""

    num_frames = np.array([2000, 30])
    pids, camids, tracklet_ids = np.array([1, 2]), np.array([1, 1]), np.array(["a", "b"])

    def __init__(self):
        self.largest = 0

    def __len__(self):
        return 2

    def read(self, row, numbers):
        self.largest = max(self.largest, np.size(numbers))
        frames = np.random.default_rng(row).integers(0, 256, (50, *SIZE[1:]), dtype=np.uint8)
        return frames[(np.asarray(numbers) // 7) % 50]


@pytest.mark.slow
def test_a_tracklet_of_2000_frames_is_one_sum_in_bounded_memory(build):
    module, variables, _ = build(aggregate_over="tracklet")
    source = LongTracklets()
    stream = evaluation_stream("sliding", 8, {}, stride=4)
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    found = extract_stream(
        Network(module, mean, std),
        variables,
        source,
        Stream.parse(stream, "stream"),
        ExtractionOptions(SIZE[1:3], 256, 2),
    )
    assert source.largest <= 256 + 8
    whole = Network(module, mean, std)
    describe = jax.jit(lambda frames: whole(variables, frames)["descriptors"], compiler_options=QUICK)
    for row, length in enumerate(source.num_frames):
        starts = 4 * np.arange((length - 8) // 4 + 1)
        frames = source.read(row, starts[:, None] + np.arange(8))
        sums = sums_by_hand(describe(frames), variables["params"]["vlad"])
        np.testing.assert_allclose(found[row], both_norms(sums / len(starts)), atol=2e-3)


class Connected(nn.Module):
    """A backbone whose two vectors are told apart."""

    @nn.compact
    def __call__(self, clips, train=False):
        feature = clips.mean((1, 2, 3))
        return {"feature": feature, "dropped": 3 * feature}


def test_the_classifier_of_c3d_reads_what_dropout_leaves_of_fc7_and_its_feature_does_not(monkeypatch):
    monkeypatch.setattr(person_vlad, "C3D", lambda *_, name, **__: Connected(name=name))
    module = models.create("person_vlad", num_classes=4, classifiers=("c3d",), classifier_norm=False, clip_length=2)
    clips = np.random.default_rng(0).random((2, 6, 4, 4, 3)).astype(np.float32)
    variables = module.init(jax.random.key(0), clips, stream="c3d")
    outputs = module.apply(variables, clips, train=True, stream="c3d")
    mean = clips.mean((1, 2, 3))  # of three clips
    layer = jax.device_get(variables["params"]["c3d_head"]["classifier"])
    np.testing.assert_allclose(outputs["logits"], 3 * mean @ layer["kernel"] + layer["bias"], atol=1e-5)
    np.testing.assert_allclose(outputs["feature"], mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.slow
def test_in_training_a_tracklets_clip_is_normalised_too(build):
    module, variables, clips = build(aggregate_over="tracklet")
    trained = apply(module, variables, clips, train=True)["feature"]
    np.testing.assert_allclose(np.linalg.norm(trained, axis=1), 1, rtol=1e-4)
    evaluated = apply(module, variables, clips)["feature"]
    np.testing.assert_allclose(module.tracklet_feature(evaluated), trained, atol=1e-4)


def state_of(module, variables, extra=None):
    network = Network(module, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return TrainState(jnp.int32(0), variables["params"], {}, {}, extra or {}, network)


@pytest.mark.slow
def test_centres_are_the_kmeans_of_training_descriptors(build):
    module, variables, _ = build(kmeans_batches=2, kmeans_before="parts")
    frames = np.random.default_rng(5).integers(0, 256, (2, 4, *SIZE), dtype=np.uint8)
    labels, reported = np.array([[0, 1, 0, 1], [2, 2, 1, 0]]), []

    def batches(count):
        return iter({"frames": part, "label": label} for part, label in zip(frames[:count], labels, strict=True))

    batches.report, batches.kept, batches.phase = reported.append, (), types.SimpleNamespace(apply={})
    state = state_of(module, variables, {"oim": "what it remembers"})
    found = prepare("parts", state, batches).params["vlad"]
    clips = (frames.reshape(-1, *SIZE).astype(np.float32) / 255 - 0.5) / 0.25
    descriptors = np.asarray(apply(module, variables, jnp.asarray(clips))["descriptors"])
    np.testing.assert_allclose(found["centres"], kmeans(descriptors.reshape(-1, 5), 4), atol=1e-4)
    expected = cell_statistics(descriptors, labels.reshape(-1), np.asarray(found["centres"]))
    assert reported[0] == pytest.approx(expected)
    assert prepare("parts", state, batches).extra == {}  # of residuals to other centres
    np.testing.assert_allclose(found["kernel"], 40 * found["centres"].T, rtol=1e-6)
    np.testing.assert_allclose(found["bias"], -20 * np.square(found["centres"]).sum(1), rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, found, prepare("parts", state, batches).params["vlad"])
    assert "feature_head" not in prepare("parts", state, batches).params
    head = {"bn": {"scale": np.full(20, 1.5)}, "classifier": {"kernel": np.ones((20, 6)), "bias": np.ones(6)}}
    trained = state.replace(params={**state.params, "feature_head": head})
    after = prepare("parts", trained, batches).params["feature_head"]  # which knew the features of other centres
    assert not after["classifier"]["kernel"].any()
    assert not after["classifier"]["bias"].any()
    assert (after["bn"]["scale"] == 1.5).all()
    assert prepare("joint", state, batches) is state
    batches.kept = ("params/vlad/centres",)
    assert prepare("parts", state, batches) is state


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"part_layer": "pool5"}, "part_layer is 'pool5', which clips of 8 frames of 32x16 do not have; take conv5b"),
        ({"part_layer": "conv9"}, "part_layer is 'conv9', expected one of pool5, conv5b, conv4b"),
        ({"aggregation": "sum"}, "aggregation is 'sum', expected one of vlad, average, max"),
        ({"aggregation": "max", "aggregate_over": "tracklet"}, "which aggregation 'max' does not"),
        ({"classifiers": ("head",)}, "classifiers is 'head'"),
        ({"alpha": 0.0}, "alpha is 0.0; it must be above 0"),
    ],
)
def test_what_does_not_fit_is_named(fields, words):
    module = models.create("person_vlad_small", **{**TINY, **fields})
    with pytest.raises(InputError, match=words):
        jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *SIZE), jnp.float32))
