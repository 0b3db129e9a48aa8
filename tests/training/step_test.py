from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vreid_jax import config, models
from vreid_jax.config.phases import Phase
from vreid_jax.errors import InputError
from vreid_jax.losses import OIMMemory, batch_hard_triplet
from vreid_jax.runtime.mesh import make_mesh, put_batch, replicate
from vreid_jax.training.average import new_average
from vreid_jax.training.network import Network, normalise
from vreid_jax.training.optimizers import make_optimizer
from vreid_jax.training.state import TrainState, split_params
from vreid_jax.training.step import make_train_step

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


class Plain(nn.Module):
    """No batch norm, no dropout: a step can be worked out outside of it."""

    @nn.compact
    def __call__(self, clips, train=False):
        feature = nn.Dense(6, name="feature")(clips.mean((1, 2, 3)))
        return {"feature": feature, "logits": nn.Dense(4, name="classifier")(jnp.tanh(feature))}


def batch(size=8):
    generator = np.random.default_rng(0)
    return {
        "frames": generator.integers(0, 256, (size, 2, 8, 4, 3), dtype=np.uint8),
        "label": np.repeat(np.arange(4, dtype=np.int32), size // 4),
    }


def phase(**changes):
    settings = {"batch_size": 8, "optimizer": {"learning_rate": 0.5, "momentum": 0.0, "weight_decay": 0.0}}
    return Phase.parse(config.phase(**settings | {"total_steps": 10} | changes))


@cache
def fresh(module):
    """Copies on the host, which no step donates."""
    clip = jax.ShapeDtypeStruct((1, 2, 8, 4, 3), jnp.float32)
    draw = jax.jit(
        lambda: dict(module.lazy_init(jax.random.key(1), clip)), compiler_options={"xla_backend_optimization_level": 0}
    )
    return jax.device_get(draw())


def start(module, phase, mesh, extra=None):
    variables = fresh(module)
    optimizer = make_optimizer(phase, 10)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(split_params(variables["params"], phase.train)[0]),
        extra=extra or {},
    )
    return replicate(state, mesh), optimizer


def take(module, phase, steps=1, devices=1, update=None, seed=0, extra=None):
    """Do steps; returns the parameters before, the state after and the metrics of every step."""
    mesh = make_mesh(jax.devices()[:devices])
    state, optimizer = start(module, phase, mesh, extra)
    before = jax.device_get(state.params)
    step = make_train_step(Network(module, MEAN, STD), phase, optimizer, mesh, update=update)
    metrics = []
    for _ in range(steps):
        state, values = step(seed, state, put_batch(batch(), mesh))
        metrics.append(jax.device_get(values))
    return before, jax.device_get(state), metrics


def loss_by_hand(params, part):
    """The softmax loss of `Plain` in float64 NumPy."""
    pixels = (part["frames"].astype(np.float64) / 255 - np.array(MEAN)[None]) / np.array(STD)[None]
    feature = pixels.mean((1, 2, 3)) @ params["feature"]["kernel"] + params["feature"]["bias"][None]
    logits = np.tanh(feature) @ params["classifier"]["kernel"] + params["classifier"]["bias"][None]
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -log_p[np.arange(len(log_p)), part["label"]].mean()


def gradient_by_hand(params, part):
    """Central differences of `loss_by_hand`."""
    params = jax.tree.map(lambda x: np.array(x, np.float64), params)

    def slope(x, index, h=1e-6):
        old = x[index]
        x[index] = old + h
        above = loss_by_hand(params, part)
        x[index] = old - h
        below = loss_by_hand(params, part)
        x[index] = old
        return (above - below) / (2 * h)

    return jax.tree.map(lambda x: np.array([slope(x, i) for i in np.ndindex(x.shape)]).reshape(x.shape), params)


def test_pixels_are_normalised_by_mean_and_deviation():
    frames = np.array([0, 255], np.uint8)[:, None] * np.ones((1, 3), np.uint8)
    expected = [[-2.5, -1.6, -0.6], [2.5, 2.4, 1.4]]
    np.testing.assert_allclose(normalise(jnp.asarray(frames), MEAN, STD), expected, rtol=1e-5)


def test_a_step_goes_down_the_gradient_of_the_loss():
    before, after, (metrics,) = take(Plain(), phase())
    gradient = gradient_by_hand(before, batch())
    np.testing.assert_allclose(metrics["loss"], loss_by_hand(before, batch()), rtol=1e-5)
    jax.tree.map(lambda x, y, g: np.testing.assert_allclose(y, x - 0.5 * g, atol=1e-5), before, after.params, gradient)
    norm = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(gradient)))
    np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-3)
    assert after.step == 1


@pytest.mark.parametrize("devices", [1, 4])
def test_jit_on_a_mesh_equals_the_eager_loss(devices):
    before, _, (metrics,) = take(Plain(), phase(), devices=devices)
    outputs = Plain().apply({"params": before}, normalise(jnp.asarray(batch()["frames"]), MEAN, STD))
    log_p = jax.nn.log_softmax(outputs["logits"])
    np.testing.assert_allclose(metrics["loss"], -log_p[jnp.arange(8), batch()["label"]].mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], (outputs["logits"].argmax(1) == batch()["label"]).mean())


@pytest.mark.parametrize("devices", [1, 4])
def test_accumulated_gradients_are_the_mean_over_microbatches(devices):
    changes = {"losses": {"softmax": {"smoothing": 0.1}}}
    _, whole, (metrics,) = take(Plain(), phase(**changes), devices=devices)
    _, parts, (averaged,) = take(Plain(), phase(accumulation_steps=2, **changes), devices=devices)
    chex.assert_trees_all_close(whole.params, parts.params, rtol=1e-7, atol=1e-6)
    for name in ("loss", "accuracy", "gradient_norm"):
        np.testing.assert_allclose(metrics[name], averaged[name], rtol=1e-5)


@pytest.mark.usefixtures("toy_module")
def test_hard_mining_and_batch_norm_see_one_microbatch_of_whole_identities():
    # Four identities in rows of two: with two microbatches the first sees labels 0 and 1 only.
    losses = {"softmax": {"weight": 0.0}, "triplet": {"weight": 1.0}}
    common = {"apply": {"stream": "temporal"}, "train": ("temporal/.*",), "losses": losses}
    module = models.create("toy", num_classes=4, dropout=0.0)
    before, after, (metrics,) = take(module, phase(accumulation_steps=2, **common))
    variables, expected = {"params": before, "batch_stats": fresh(module)["batch_stats"]}, []
    for rows in (slice(0, 4), slice(4, 8)):
        outputs, changed = module.apply(
            variables,
            normalise(jnp.asarray(batch()["frames"][rows]), MEAN, STD),
            train=True,
            stream="temporal",
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        expected.append(batch_hard_triplet(outputs["feature"], jnp.asarray(batch()["label"][rows])))
        variables = {"params": before, "batch_stats": changed["batch_stats"]}
    np.testing.assert_allclose(metrics["triplet"], np.mean(expected), rtol=1e-5)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7),
        after.batch_stats["temporal"],
        jax.device_get(variables["batch_stats"]["temporal"]),
    )


@pytest.mark.usefixtures("toy_module")
def test_parameters_that_do_not_train_stay_bit_for_bit():
    settings = {"apply": {"stream": "spatial"}, "train": ("spatial/head/.*",)}
    settings["optimizer"] = {"learning_rate": 0.5, "weight_decay": 0.1}
    module = models.create("toy", num_classes=4)
    before, after, _ = take(module, phase(**settings), steps=2)
    chex.assert_trees_all_equal(before["temporal"], after.params["temporal"])
    chex.assert_trees_all_equal(before["spatial"]["conv"], after.params["spatial"]["conv"])
    jax.tree.map(
        lambda x, y: np.testing.assert_equal(bool((x != y).any()), True),
        before["spatial"]["head"]["classifier"],
        after.params["spatial"]["head"]["classifier"],
    )


@pytest.mark.usefixtures("toy_module")
def test_dropout_follows_seed_and_step():
    settings = {"apply": {"stream": "spatial"}, "train": ("spatial/.*",)}
    settings["optimizer"] = {"learning_rate": 0.0, "weight_decay": 0.0}
    module = models.create("toy", num_classes=4)
    losses = [[float(m["loss"]) for m in take(module, phase(**settings), steps=3, seed=seed)[2]] for seed in (0, 0, 1)]
    assert losses[0] == losses[1]
    assert len({*losses[0], *losses[2]}) == 6


def test_one_program_serves_all_seeds():
    traces = []

    def update(state, outputs, batch):
        del outputs, batch
        traces.append(state)
        return state

    mesh = make_mesh(jax.devices()[:1])
    state, optimizer = start(Plain(), phase(), mesh)
    step = make_train_step(Network(Plain(), MEAN, STD), phase(), optimizer, mesh, update=update)
    for seed in (0, 1, 2**31 - 1):
        state, _ = step(seed, state, put_batch(batch(), mesh))
    assert len(traces) == 1


def test_the_average_of_the_weights_follows_the_steps():
    settings, mesh = phase(optimizer={"ema": 0.15}, train=("feature/.*",)), make_mesh(jax.devices()[:1])
    state, optimizer = start(Plain(), settings, mesh)
    trainable = split_params(state.params, settings.train)[0]
    state = state.replace(extra={"ema": replicate(new_average(trainable, state.batch_stats), mesh)})
    step = make_train_step(Network(Plain(), MEAN, STD), settings, optimizer, mesh)
    expected = jax.device_get(state.params["feature"])
    for kept in (1 / 10, 0.15, 0.15):  # 2/11 and 3/12 are beyond the decay
        state, _ = step(0, state, put_batch(batch(), mesh))
        expected = jax.tree.map(
            lambda old, new, kept=kept: kept * np.float64(old) + (1 - kept) * new,
            expected,
            jax.device_get(state.params["feature"]),
        )
        found = jax.device_get(state.extra["ema"]["params"])
        assert set(found) == {"feature"}
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), found["feature"], expected)


def test_the_update_of_a_system_comes_after_the_optimizer():
    def update(state, outputs, batch):
        del batch
        return state.replace(extra={"feature": outputs["feature"], "bias": state.params["classifier"]["bias"] + 0})

    extra = {"feature": jnp.zeros((8, 6)), "bias": jnp.zeros(4)}
    for accumulation in (1, 2):
        before, after, _ = take(Plain(), phase(accumulation_steps=accumulation), update=update, extra=extra)
        outputs = Plain().apply({"params": before}, normalise(jnp.asarray(batch()["frames"]), MEAN, STD))
        np.testing.assert_allclose(after.extra["feature"], outputs["feature"], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(after.extra["bias"], after.params["classifier"]["bias"])


@pytest.mark.parametrize("wrong", [jnp.zeros(3), jnp.zeros(4, jnp.int32)])
def test_an_update_that_changes_a_shape_or_a_type_is_an_error_at_the_first_step(wrong):
    def update(state, outputs, batch):
        del outputs, batch
        return state.replace(extra={"memory": wrong})

    with pytest.raises(AssertionError, match="memory"):
        take(Plain(), phase(), update=update, extra={"memory": jnp.zeros(4)})


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_table_of_oim_moves_by_the_features_of_the_step_in_every_system(accumulation):
    losses = {"softmax": {"weight": 0.0}, "oim": {"weight": 1.0}}
    settings, mesh = phase(accumulation_steps=accumulation, losses=losses), make_mesh(jax.devices()[:1])
    state, optimizer = start(Plain(), settings, mesh)
    outputs = Plain().apply({"params": state.params}, normalise(jnp.asarray(batch()["frames"]), MEAN, STD))
    memory = OIMMemory.empty(4, 6)
    step = make_train_step(Network(Plain(), MEAN, STD), settings, optimizer, mesh)
    extra = replicate({"oim": memory, "other": jnp.ones(1)}, mesh)
    after = step(0, state.replace(extra=extra), put_batch(batch(), mesh))[0].extra
    expected = memory.after(outputs["feature"], batch()["label"])
    assert np.abs(expected.table).min(0).max() > 0
    np.testing.assert_allclose(after["oim"].table, expected.table, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(after["other"], 1)


@pytest.mark.parametrize(("size", "accumulation", "devices"), [(8, 3, 1), (8, 4, 4), (2, 1, 4)])
def test_a_batch_that_does_not_divide_is_an_error(size, accumulation, devices):
    settings = phase(batch_size=size, accumulation_steps=accumulation)
    words = f"batch_size = {size} does not divide into {accumulation} microbatches on {devices} devices"
    with pytest.raises(InputError, match=words):
        take(Plain(), settings, devices=devices)


def test_patterns_that_match_no_parameter_are_an_error():
    with pytest.raises(InputError, match=r"no parameter matches the phase's train = \('spatail"):
        take(Plain(), phase(train=("spatail/.*",)))
