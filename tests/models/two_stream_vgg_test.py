"""The two-stream VGG-16: its fusions, its VLAD row, and a flow network that starts from the spatial one."""

import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import models
from vreid_jax.config import from_file
from vreid_jax.config.fields import matching
from vreid_jax.errors import InputError
from vreid_jax.models.layers.kmeans import kmeans
from vreid_jax.models.layers.vlad import vlad_parameters
from vreid_jax.models.systems import two_stream_vgg
from vreid_jax.models.systems.two_stream_vgg import TwoStreamVGG, prepare

QUICK = {"xla_backend_optimization_level": 0}
NARROW = {"width": 2, "hidden_size": 6, "num_classes": 3, "dropout": 0.0}


def clips(channels=23, frames=2, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((2, frames, 32, 32, channels)), jnp.float32)


def drawn(module):
    """Random values in every tensor, without compiling an initialisation."""
    rng = np.random.default_rng(0)
    shapes = dict(jax.eval_shape(module.init, jax.random.key(0), clips()))

    def draw(path, leaf):
        if path[-1].key in ("scale", "var"):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        fan = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 100
        return jnp.asarray(rng.standard_normal(leaf.shape) * np.sqrt(2 / fan), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [("max", [[2.5, 2.0]]), ("average", [[1.625, 1.25]]), ("product", [[2.25, 1.0]])],
)
def test_two_vectors_are_fused_element_by_element_and_then_averaged(stream, expected):
    # One clip of two positions; by hand: maxima (3, 2), (2, 2), means (2.25, 1.5), (1, 1), products (4.5, 2), (0, 0).
    spatial = {"fc7": jnp.array([[[3.0, 1.0], [2.0, 2.0]]])}
    temporal = {"fc7": jnp.array([[[1.5, 2.0], [0.0, 0.0]]])}
    np.testing.assert_allclose(TwoStreamVGG._fused(stream, spatial, temporal, {}), expected)


def test_scores_are_the_mean_of_the_logits_and_need_classifiers():
    mean = {"logits": jnp.array([[1.0, 2.0]])}
    np.testing.assert_array_equal(TwoStreamVGG._fused("scores", {}, {}, mean), [[1.0, 2.0]])
    with pytest.raises(InputError, match="stream scores needs the classifiers"):
        TwoStreamVGG._fused("scores", {}, {}, {})


def test_what_each_stream_reads():
    module = models.create("two_stream_vgg", **NARROW)
    assert [models.channels_of(module, {"stream": stream}) for stream in ("spatial", "temporal", "max", None)] == [
        3,
        20,
        23,
        23,
    ]
    with pytest.raises(InputError, match="stream is 'sum', expected one of spatial, temporal, max"):
        models.inputs_of(module, {"stream": "sum"})
    with pytest.raises(InputError, match="stream temporal reads stacks of optical flow, 20 channels, and was given 3"):
        jax.eval_shape(lambda x: module.init(jax.random.key(0), x, stream="temporal"), clips(3))
    shapes = jax.eval_shape(module.init, jax.random.key(0), clips())
    with pytest.raises(InputError, match=r"stream vlad needs model.num_clusters above 0"):
        jax.eval_shape(lambda v, x: module.apply(v, x, stream="vlad"), shapes, clips())


@pytest.mark.slow
def test_a_fused_stream_is_made_of_the_single_ones():
    module = models.create("two_stream_vgg", **NARROW)
    variables, x = drawn(module), clips()
    apply = jax.jit(module.apply, static_argnames=("stream",), compiler_options=QUICK)
    spatial = apply(variables, x[..., :3], stream="spatial")
    temporal = apply(variables, x[..., 3:], stream="temporal")
    a, b = (np.asarray(outputs["fc7"], np.float64) for outputs in (spatial, temporal))
    for stream, fused in (("max", np.maximum(a, b)), ("average", (a + b) / 2), ("product", a * b), (None, a * b)):
        found = apply(variables, x, stream=stream)
        np.testing.assert_allclose(found["feature"], fused.mean(1), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["logits"], (spatial["logits"] + temporal["logits"]) / 2, rtol=1e-4, atol=1e-6)


def vlad(descriptors, centres, alpha):
    """Residuals of all descriptors [N, D] to centres [K, D], softly assigned, from Eq. 3 in float64; unnormalised."""
    total = np.zeros_like(centres)
    for f in descriptors:
        distances = ((f - centres) ** 2).sum(1)
        share = np.exp(-alpha * (distances - distances.min()))
        total += (share / share.sum())[:, None] * (f - centres)
    return total


def unit(x):
    return x / np.sqrt((x**2).sum(-1, keepdims=True) + 1e-12)


@pytest.mark.slow
def test_the_vlad_row_sums_over_the_whole_tracklet_and_is_normalised_for_each_network():
    module = models.create("two_stream_vgg", num_clusters=3, alpha=5.0, **NARROW)
    variables, x = drawn(module), clips(frames=2)
    rng = np.random.default_rng(3)
    centres = {name: unit(rng.uniform(size=(3, 16))) for name in ("spatial", "temporal")}
    for name, c in centres.items():
        variables["params"][f"vlad_{name}"] = {
            "centres": jnp.asarray(c, jnp.float32),
            "kernel": jnp.asarray(2 * 5.0 * c.T, jnp.float32),
            "bias": jnp.asarray(-5.0 * (c**2).sum(1), jnp.float32),
        }
    apply = jax.jit(module.apply, static_argnames=("stream",), compiler_options=QUICK)
    outputs = apply(variables, x, stream="vlad")
    maps = [
        np.asarray(apply(variables, part, stream=name)["conv5_3"], np.float64)
        for name, part in (("spatial", x[..., :3]), ("temporal", x[..., 3:]))
    ]
    assert outputs["descriptors"].shape == (2, 2 * 2 * 2, 2, 16)
    # The two clips are those of one tracklet: the sum is over all of their positions.
    found = module.tracklet_feature(np.asarray(outputs["feature"]).mean(0, keepdims=True), "vlad")
    halves = [
        unit(unit(vlad(unit(m.reshape(-1, 16)), c, 5.0)).reshape(-1))
        for m, c in zip(maps, centres.values(), strict=True)
    ]
    np.testing.assert_allclose(found[0], np.concatenate(halves) / np.sqrt(2), rtol=1e-3, atol=1e-5)
    means = np.ones((2, 6))
    assert module.tracklet_feature(means, "max") is means


@pytest.fixture(scope="module")
def vlad_row():
    """The row as walkers trains it, of narrower networks: its phase, and gradients at a given alpha after k-means."""
    config = from_file("two_stream_vgg:walkers,fusion=vlad")
    fields = {name: value for name, value in config.model.items() if name not in ("name", "alpha")}
    fields |= {"width": 2, "hidden_size": 8, "num_classes": 4}
    x = jnp.asarray(
        np.random.default_rng(2).standard_normal((4, config.phases.vlad.clip.length, 64, 32, 23)), jnp.float32
    )

    def gradients(alpha):
        module = models.create("two_stream_vgg", alpha=alpha, **fields)
        variables = drawn(module)

        def loss(params):
            outputs, _ = module.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"], **config.phases.vlad.apply
            )
            return -jax.nn.log_softmax(outputs["logits"])[jnp.arange(4), jnp.arange(4)].mean(), outputs["descriptors"]

        step = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)
        (_, descriptors), _ = step(variables["params"])
        found = np.asarray(descriptors).reshape(-1, *descriptors.shape[2:])
        centres = {
            f"vlad_{name}": vlad_parameters(kmeans(found[:, number], module.num_clusters), module.alpha)
            for number, name in enumerate(("spatial", "temporal"))
        }
        params = {**variables["params"], **centres}
        return params, step(params)[1]

    return config, gradients


def relative(params, gradients):
    """The largest gradient of each tensor, by its name, as a share of its largest value."""
    named = zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(gradients), strict=True)
    return {
        "/".join(key.key for key in path): float(np.abs(gradient).max() / (np.abs(value).max() or 1.0))
        for (path, value), gradient in named
    }


@pytest.mark.slow
def test_every_tensor_of_the_vlad_row_learns_at_the_alpha_that_is_used(vlad_row):
    config, gradients = vlad_row
    found = relative(*gradients(config.model.alpha))
    assert np.isfinite(list(found.values())).all()
    trained = matching(found, config.phases.vlad.train)
    assert {name for name in trained if name.startswith("vlad_")} == {
        name for name in found if name.startswith("vlad_")
    }
    constant = r"(spatial|temporal)/conv5_\d/bias"  # before a batch norm, which takes it off with the mean
    dead = [name for name in trained if found[name] <= 1e-6 and not re.fullmatch(constant, name)]
    assert not dead
    outside = ("fc6", "fc7", "temporal/classifier", "spatial/classifier")
    assert all(found[name] == 0 for name in found if any(part in name for part in outside))


@pytest.mark.slow
def test_at_the_papers_alpha_the_assignment_does_not_learn(vlad_row):
    _, gradients = vlad_row
    found = relative(*gradients(1000.0))
    for name in ("vlad_spatial", "vlad_temporal"):
        assert found[f"{name}/centres"] > 1e-4
        assert max(found[f"{name}/kernel"], found[f"{name}/bias"]) < 1e-6


def test_the_flow_network_starts_from_the_spatial_one_with_its_own_classifier():
    module = models.create("two_stream_vgg", batch_norm=True, **NARROW)
    variables = drawn(module)
    state = types.SimpleNamespace(
        **variables, replace=lambda **changes: types.SimpleNamespace(**{**variables, **changes})
    )
    batches = types.SimpleNamespace(config=types.SimpleNamespace(phases={"spatial": None, "temporal": None}))
    found = prepare("temporal", state, batches)
    spatial, temporal = variables["params"]["spatial"], found.params["temporal"]
    np.testing.assert_allclose(
        temporal["conv1_1"]["kernel"][:, :, 11], np.asarray(spatial["conv1_1"]["kernel"], np.float64).mean(2), rtol=1e-5
    )
    np.testing.assert_array_equal(temporal["conv4_2"]["kernel"], spatial["conv4_2"]["kernel"])
    np.testing.assert_array_equal(
        found.batch_stats["temporal"]["bn2_1"]["var"], variables["batch_stats"]["spatial"]["bn2_1"]["var"]
    )
    own = variables["params"]["temporal"]["classifier"]["kernel"]
    np.testing.assert_array_equal(temporal["classifier"]["kernel"], own)
    assert prepare("spatial", state, batches) is state
    assert jax.tree.structure(found.params) == jax.tree.structure(variables["params"])


def test_centres_come_from_as_many_descriptors_of_each_batch_and_no_more(monkeypatch):
    """Whole batches of the recipe for MARS would be 10 GB."""
    seen = []
    monkeypatch.setattr(two_stream_vgg, "DESCRIPTORS", 12)
    monkeypatch.setattr(two_stream_vgg, "kmeans", lambda found, k: seen.append(found) or found[:k])
    module = TwoStreamVGG(num_clusters=2, kmeans_batches=3)

    class Network:
        """Says for descriptors which batch they are of, and which network."""

        def __call__(self, variables, frames, **apply):
            of_network = 10 * jnp.arange(2.0)[None, None, :, None]
            return {"descriptors": frames[:, None, None, None] + of_network + jnp.zeros((1, 50, 1, 4))}

    network = Network()
    network.module = module
    state = types.SimpleNamespace(network=network, params={}, batch_stats={}, replace=lambda params: params)

    def batches(count):
        return [{"frames": np.full(2, number, np.float32), "label": np.arange(2)} for number in range(count)]

    batches.phase = types.SimpleNamespace(apply={})
    params = prepare("vlad", state, batches)
    assert set(params) == {"vlad_spatial", "vlad_temporal"}
    for number, found in enumerate(seen):
        assert found.shape == (12, 4)
        assert sorted(found[:, 0]) == sorted([0 + 10 * number, 1 + 10 * number, 2 + 10 * number] * 4)
