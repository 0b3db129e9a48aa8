"""One step against the loss written out, what it may change, and batch statistics measured anew."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from vreid_jax.adaptation.step import make_statistics, make_step, new_state
from vreid_jax.losses import contrastive_of_pairs
from vreid_jax.training.network import Network


class Normed(nn.Module):
    """Colours, normalised over the batch, as the feature; and a part that no stream uses."""

    momentum: float = 0.9

    @nn.compact
    def __call__(self, clips, train=False, side=False):
        colours = clips.mean((1, 2, 3))
        x = nn.BatchNorm(not train, momentum=self.momentum, name="norm")(colours)
        outputs = {"feature": nn.Dense(4, name="dense")(x)}
        if side or self.is_initializing():
            outputs["side"] = nn.BatchNorm(not train, name="side")(colours)
        return outputs


def network(momentum=0.9):
    return Network(Normed(momentum), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def frames(seed, count=8):
    return np.random.default_rng(seed).integers(0, 256, (count, 2, 4, 3, 3), dtype=np.uint8)


def batch(seed, count=8):
    same = np.arange(count)[:, None] // 2 == np.arange(count)[None] // 2
    return {"frames": frames(seed, count), "positive": same & ~np.eye(count, dtype=bool), "negative": ~same}


@pytest.fixture(scope="module")
def variables():
    found = dict(jax.jit(network().module.init)(jax.random.key(0), np.zeros((2, 2, 4, 3, 3), np.float32)))
    moved = jax.tree.map(lambda x: x + 0.25, found["batch_stats"])
    return jax.device_get({"params": found["params"], "batch_stats": moved})


def colours(pixels):
    return ((pixels / 255.0 - 0.5) / 0.5).mean((1, 2, 3), dtype=np.float64)


@pytest.mark.parametrize("momentum", [0.9, 0.99, 0.5])
def test_statistics_are_the_mean_over_batches_whatever_the_momentum(variables, momentum):
    batches = [{"clips": frames(seed)} for seed in range(3)]
    found = make_statistics(network(momentum), {"clips": {}})(variables, batches)
    values = [colours(each["clips"]) for each in batches]
    np.testing.assert_allclose(found["norm"]["mean"], np.mean([v.mean(0) for v in values], 0), atol=1e-4)
    np.testing.assert_allclose(found["norm"]["var"], np.mean([v.var(0) for v in values], 0), atol=1e-4)
    # What the stream does not use stays.
    np.testing.assert_array_equal(found["side"]["mean"], variables["batch_stats"]["side"]["mean"])
    np.testing.assert_array_equal(found["side"]["var"], variables["batch_stats"]["side"]["var"])


def test_every_stream_has_its_statistics_measured(variables):
    batches = [{"one": frames(0), "two": frames(1)}]
    found = make_statistics(network(), {"one": {}, "two": {"side": True}})(variables, batches)
    np.testing.assert_allclose(found["side"]["mean"], colours(frames(1)).mean(0), atol=1e-4)


def test_a_network_without_batch_norm_has_nothing_to_measure():
    assert make_statistics(network(), {"clips": {}})({"params": {}, "batch_stats": {}}, []) == {}


def run_step(variables, synthetic, weight=1.0):
    optimizer = optax.sgd(0.1)
    step = make_step(network(), {"clips": {}}, optimizer, temperature=0.1, synthetic_weight=weight, decay=0.0)
    return step(0, new_state(variables, optimizer), {"clips": batch(0)}, synthetic)


@pytest.mark.slow
def test_a_step_descends_the_sum_of_both_losses_of_forward_passes_of_their_own(variables):
    def loss(params, each):
        module = network().module
        clips = (each["frames"] / 255.0 - 0.5).astype(np.float32) / np.float32(0.5)
        outputs, changed = module.apply(
            {"params": params, "batch_stats": variables["batch_stats"]}, clips, train=True, mutable=["batch_stats"]
        )
        return contrastive_of_pairs(outputs["feature"], each["positive"], each["negative"], 0.1), changed

    (real, changed), (drawn, _) = loss(variables["params"], batch(0)), loss(variables["params"], batch(1))
    gradient = jax.grad(lambda p: loss(p, batch(0))[0] + 0.5 * loss(p, batch(1))[0])(variables["params"])
    state, found = run_step(variables, {"clips": batch(1)}, weight=0.5)
    np.testing.assert_allclose([found["real"], found["synthetic"]], [real, drawn], rtol=1e-4)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], gradient)
    after = state.variables
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5),
        (after["params"], after["batch_stats"]),
        (expected, changed["batch_stats"]),  # the drawn people do not move the running statistics
    )


def test_without_synthetic_people_only_the_footage_counts(variables):
    state, found = run_step(variables, {})
    assert found["synthetic"] == 0
    assert found["real"] > 0
    assert not np.allclose(state.params["dense/kernel"], variables["params"]["dense"]["kernel"])


def test_a_batch_without_a_known_pair_changes_nothing(variables):
    optimizer = optax.sgd(0.1)
    step = make_step(network(), {"clips": {}}, optimizer, temperature=0.1, synthetic_weight=1, decay=0.0)
    nothing = {**batch(0), "positive": np.zeros((8, 8), bool)}
    state, found = step(0, new_state(variables, optimizer), {"clips": nothing}, {})
    assert found["real"] == 0
    np.testing.assert_array_equal(state.params["dense/kernel"], jnp.asarray(variables["params"]["dense"]["kernel"]))
