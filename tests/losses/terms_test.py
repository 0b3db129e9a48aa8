"""Terms of a phase's loss: what registering one brings, what is parsed, and what a phase remembers of them."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import config
from vreid_jax.config.phases import Phase
from vreid_jax.errors import InputError
from vreid_jax.losses import TERMS, OIMMemory, Term, default_fields, register
from vreid_jax.training.objective import memories, objective, remembered

FEATURES = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)), jnp.float32)
BATCH = {"label": jnp.array([0, 0, 1, 1])}


@pytest.fixture
def mean_square():
    """A loss of somebody's own."""

    @register("mean_square")
    @dataclasses.dataclass(frozen=True)
    class MeanSquare(Term):
        scale: float = 2.0

        def __call__(self, outputs, batch, memory, key):
            return self.scale * jnp.square(outputs["feature"]).mean()

    yield
    del TERMS["mean_square"]


def terms(**losses):
    return Phase.parse(config.phase(losses=losses, total_steps=1), "config.phases.only").losses


def test_a_registered_loss_is_a_field_of_every_phase_and_enters_the_weighted_sum(mean_square):
    assert default_fields()["mean_square"] == {"weight": 0.0, "scale": 2.0}
    found = terms(softmax={"weight": 0.0}, mean_square={"weight": 3.0, "scale": 5.0})
    total, values = objective({"feature": FEATURES}, BATCH, found)
    expected = 5 * np.square(np.asarray(FEATURES, np.float64)).mean()
    assert list(values) == ["mean_square"]
    np.testing.assert_allclose(values["mean_square"], expected, rtol=1e-6)
    np.testing.assert_allclose(total, 3 * expected, rtol=1e-6)


def test_a_name_is_registered_once(mean_square):
    with pytest.raises(ValueError, match=r"loss 'mean_square' is registered twice: .* only if 'mean_square' is not in"):
        register("mean_square")(Term)


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ({"triplet": {"weight": -1.0}}, "config.phases.only.losses.triplet.weight is -1.0; it must not be negative"),
        ({"triplet": {"distance": "manhattan"}}, "losses.triplet.distance is 'manhattan'; it is one of euclidean, "),
        ({"softmax": {"smoothing": 1.0}}, "losses.softmax.smoothing is 1.0; it must be at least 0 and below 1"),
        ({"oim": {"temperature": 0.0}}, "losses.oim.temperature is 0.0; it must be above 0"),
        ({"softmax": {"weight": 0.0}}, "every loss of config.phases.only.losses has weight 0"),
    ],
)
def test_a_wrong_value_is_named_by_its_whole_field(losses, words):
    with pytest.raises(InputError, match=words):
        terms(**losses)


def test_a_term_says_which_output_the_model_lacks():
    with pytest.raises(InputError, match="the softmax loss needs a model with a classifier"):
        objective({"feature": FEATURES}, BATCH, terms())


def test_a_memory_stays_with_its_term_and_goes_with_it():
    oim, softmax = terms(softmax={"weight": 0.0}, oim={"weight": 1.0}), terms()
    begun = memories(oim, 3, 2, False, {"own": jnp.ones(1)})
    assert isinstance(begun["oim"], OIMMemory)
    after = remembered(begun, oim, {"feature": FEATURES}, BATCH)
    assert float(jnp.abs(after["oim"].table).min()) > 0
    assert memories(oim, 3, 2, False, after)["oim"].table is after["oim"].table
    assert memories(softmax, 3, 2, False, after).keys() == {"own"}
    assert remembered({"own": after["own"]}, softmax, {"feature": FEATURES}, BATCH)["own"] is after["own"]


def test_oim_compares_directions_whatever_the_length_of_a_feature():
    oim = terms(softmax={"weight": 0.0}, oim={"weight": 1.0, "momentum": 0.5})
    state = memories(oim, 3, 2, True, {})
    found = []
    for length in (1.0, 30.0):
        once = remembered(state, oim, {"feature": length * FEATURES}, BATCH)
        twice = remembered(once, oim, {"feature": length * FEATURES[::-1]}, BATCH)["oim"]
        loss = oim["oim"]({"feature": length * FEATURES}, BATCH, twice, None)
        found.append((loss, twice.table, twice.queue))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(found[1][1], axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("unlabelled", [False, True])
def test_a_memory_goes_on_with_the_settings_of_its_phase_and_begins_anew_at_another_size(unlabelled):
    def oim(**fields):
        return terms(softmax={"weight": 0.0}, oim={"weight": 1.0, "queue": 2, "momentum": 0.1, **fields})

    old = memories(oim(), 3, 2, unlabelled, {})["oim"]
    before = {"oim": old.after(FEATURES, jnp.array([0, 1, 0, 1]))}
    assert float(jnp.abs(before["oim"].table).min()) > 0
    kept = memories(oim(momentum=0.4), 3, 2, unlabelled, before)["oim"]
    assert kept.momentum == 0.4
    assert kept.table is before["oim"].table
    wider = memories(oim(), 5, 2, unlabelled, before)["oim"]
    np.testing.assert_array_equal(wider.table, np.zeros((2, 5)))
    longer = memories(oim(queue=7), 3, 2, unlabelled, before)["oim"]
    if unlabelled:
        assert longer.queue.shape == (7, 3)
        np.testing.assert_array_equal(longer.table, np.zeros((2, 3)))
    else:
        assert longer.table is before["oim"].table
