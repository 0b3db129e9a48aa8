from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vreid_jax import config
from vreid_jax.config.phases import Phase
from vreid_jax.errors import InputError
from vreid_jax.training.optimizers import make_optimizer, make_schedule

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ("spatial/conv/kernel", "spatial/head/kernel", "temporal/head/kernel")


def start():
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=4) for name in NAMES}


def gradients(step):
    generator = np.random.default_rng((1, step))
    return {name: generator.normal(size=4) * 10.0 ** generator.integers(-3, 2) for name in NAMES}


def parsed(**changes):
    return Phase.parse(config.phase(**{"total_steps": 100} | changes))


def run(settings, steps):
    """Take steps in float32 through `make_optimizer`."""
    optimizer = make_optimizer(settings, total_steps=100)
    params = {name: jnp.asarray(value, jnp.float32) for name, value in start().items()}
    state = optimizer.init(params)
    for step in range(steps):
        grads = {name: jnp.asarray(value, jnp.float32) for name, value in gradients(step).items()}
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_close(params, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(params[name], value, rtol=2e-5, atol=1e-6, err_msg=name)


def test_sgd_has_coupled_weight_decay_and_momentum_without_the_learning_rate():
    rate, momentum, decay = 0.1, 0.9, 0.05
    settings = parsed(
        optimizer={"learning_rate": rate, "momentum": momentum, "weight_decay": decay},
        schedule={"name": "step", "boundaries": (0.03,), "factor": 0.1},
        total_steps=100,
    )
    params = start()
    velocity = {name: 0.0 for name in params}
    for step in range(6):
        now = rate * (0.1 if step >= 3 else 1.0)
        for name, gradient in gradients(step).items():
            velocity[name] = momentum * velocity[name] + gradient + decay * params[name]
            params[name] = params[name] - now * velocity[name]
    assert_close(run(settings, 6), params)


def test_adam_equals_float64_numpy():
    rate, b1, b2, eps, decay = 0.01, 0.8, 0.9, 1e-6, 0.05
    settings = parsed(
        optimizer={"name": "adam", "learning_rate": rate, "b1": b1, "b2": b2, "eps": eps, "weight_decay": decay},
        total_steps=100,
    )
    params = start()
    first, second = ({n: np.zeros(4) for n in NAMES} for _ in range(2))
    for step in range(8):
        for n, gradient in gradients(step).items():
            gradient = gradient + decay * params[n]
            first[n] = b1 * first[n] + (1 - b1) * gradient
            second[n] = b2 * second[n] + (1 - b2) * gradient**2
            denominator = np.sqrt(second[n] / (1 - b2 ** (step + 1))) + eps
            params[n] = params[n] - rate * first[n] / (1 - b1 ** (step + 1)) / denominator
    assert_close(run(settings, 8), params)


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_amsgrad_is_that_of_pytorch(decay):
    with np.load(GOLDEN / "amsgrad.npz") as golden:
        expected, given = golden[f"parameters_weight_decay_{decay}"], golden["gradients"]
        params = {"kernel": jnp.asarray(golden["start"], jnp.float32)}
    settings = parsed(optimizer={"name": "amsgrad", "learning_rate": 0.1, "weight_decay": decay})
    optimizer = make_optimizer(settings, total_steps=100)
    state = optimizer.init(params)
    for step, gradient in enumerate(given):
        updates, state = optimizer.update({"kernel": jnp.asarray(gradient, jnp.float32)}, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["kernel"], expected[step], atol=2e-5, err_msg=f"step {step}")


def test_adamw_shrinks_parameters_beside_the_step_of_adam_and_with_their_learning_rate():
    rate, b1, b2, eps, decay = 0.01, 0.8, 0.9, 1e-6, 0.5
    settings = parsed(
        optimizer={"name": "adamw", "learning_rate": rate, "b1": b1, "b2": b2, "eps": eps, "weight_decay": decay},
        lr_multipliers=(("spatial/head/.*", 3.0),),
    )
    params = start()
    first, second = ({n: np.zeros(4) for n in NAMES} for _ in range(2))
    for step in range(5):
        for n, gradient in gradients(step).items():
            own = rate * (3.0 if n == "spatial/head/kernel" else 1.0)
            first[n] = b1 * first[n] + (1 - b1) * gradient
            second[n] = b2 * second[n] + (1 - b2) * gradient**2
            params[n] = params[n] * (1 - own * decay)  # algorithm 2 of Loshchilov and Hutter: of the old parameter
            denominator = np.sqrt(second[n] / (1 - b2 ** (step + 1))) + eps
            params[n] = params[n] - own * first[n] / (1 - b1 ** (step + 1)) / denominator
    assert_close(run(settings, 5), params)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_parameters_without_decay_move_as_if_there_was_none(name):
    common = {"name": name, "learning_rate": 0.1}
    decayed = run(parsed(optimizer={**common, "weight_decay": 0.3}), 3)
    plain = run(parsed(optimizer={**common, "weight_decay": 0.0}), 3)
    spared = run(parsed(optimizer={**common, "weight_decay": 0.3, "no_decay": (".*/head/.*",)}), 3)
    for n in NAMES:
        np.testing.assert_array_equal(spared[n], (plain if "/head/" in n else decayed)[n])
        assert (plain[n] != decayed[n]).all()


def test_a_long_gradient_is_shortened_over_all_parameters_together_before_weight_decay():
    rate, decay, most = 0.1, 0.05, 3.0
    settings = parsed(
        optimizer={"learning_rate": rate, "momentum": 0.0, "weight_decay": decay, "clip_norm": most}, total_steps=100
    )
    params, clipped = start(), []
    for step in range(6):
        grads = gradients(step)
        length = np.sqrt(sum((value**2).sum() for value in grads.values()))
        clipped.append(length > most)
        for name, gradient in grads.items():
            params[name] = params[name] - rate * (gradient * min(1, most / length) + decay * params[name])
    assert set(clipped) == {True, False}
    assert_close(run(settings, 6), params)


def test_the_first_step_of_adam_has_the_size_of_the_learning_rate():
    settings = parsed(optimizer={"name": "adam", "learning_rate": 0.01, "weight_decay": 0.0}, total_steps=100)
    expected = {n: value - 0.01 * np.sign(gradients(0)[n]) for n, value in start().items()}
    for name, value in run(settings, 1).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_the_first_multiplier_that_matches_scales_the_step():
    settings = parsed(
        optimizer={"learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0},
        lr_multipliers=((r"spatial/head/.*", 10.0), (r".*/head/.*", 0.5)),
        total_steps=100,
    )
    for name, factor in zip(NAMES, (1.0, 10.0, 0.5), strict=True):
        expected = start()[name] - 0.1 * factor * gradients(0)[name]
        np.testing.assert_allclose(run(settings, 1)[name], expected, rtol=1e-5, atol=1e-6)


def schedule(total_steps=100, learning_rate=0.2, **changes):
    return make_schedule(parsed(schedule=changes).schedule, learning_rate, total_steps)


def test_constant():
    assert [float(schedule(name="constant")(step)) for step in (0, 50, 99)] == pytest.approx([0.2] * 3)


def test_steps_fall_exactly_at_their_boundaries():
    rate = schedule(name="step", boundaries=(0.25, 0.75), factor=0.1)
    values = [float(rate(step)) for step in (0, 24, 25, 74, 75, 99)]
    assert values == pytest.approx([0.2, 0.2, 0.02, 0.02, 0.002, 0.002])


def test_boundaries_that_are_rounded_to_one_step_multiply_there():
    rate = schedule(total_steps=10, name="step", boundaries=(0.33, 0.34, 0.8), factor=0.5)
    assert [float(rate(step)) for step in (0, 2, 3, 7, 8, 9)] == pytest.approx([0.2, 0.2, 0.05, 0.05, 0.025, 0.025])


def test_exponential_is_constant_until_its_start_and_ends_at_the_final_factor():
    rate = schedule(name="exponential", start=0.5, final_factor=0.01)
    values = [float(rate(step)) for step in (0, 49, 50, 75, 100)]
    assert values == pytest.approx([0.2, 0.2, 0.2, 0.02, 0.002], rel=1e-5)


def test_cosine_falls_from_the_learning_rate_to_its_final_factor():
    rate = schedule(name="cosine", final_factor=0.1)
    # 0.2 · (0.1 + 0.9 · (1 + cos) / 2) at cosines of 1, 0.70711, 0 and -1
    values = [float(rate(step)) for step in (0, 25, 50, 100)]
    assert values == pytest.approx([0.2, 0.17364, 0.11, 0.02], rel=1e-4)


def test_cosine_begins_after_the_warm_up():
    rate = schedule(name="cosine", final_factor=0.1, warmup_steps=20)
    values = [float(rate(step)) for step in (0, 9, 19, 20, 60, 100)]
    assert values == pytest.approx([0.01, 0.1, 0.2, 0.2, 0.11, 0.02], rel=1e-5)


def test_warm_up_is_linear_and_multiplies_the_schedule():
    rate = schedule(name="step", boundaries=(0.02,), factor=0.5, warmup_steps=4)
    assert [float(rate(step)) for step in range(6)] == pytest.approx([0.05, 0.1, 0.075, 0.1, 0.1, 0.1])


def test_unknown_names_are_errors_that_list_the_known_ones():
    with pytest.raises(InputError, match=r"optimizer.name is 'lamb'; it is one of sgd, adam, adamw, amsgrad, muon"):
        make_optimizer(parsed(optimizer={"name": "lamb"}), 10)
    with pytest.raises(InputError, match=r"schedule.name is 'polynomial'; it is one of constant, step, exponential, c"):
        schedule(name="polynomial")


def orthogonalised(matrix, steps=5):
    """The quintic Newton-Schulz iteration on a matrix of Frobenius norm 1, with Jordan's coefficients."""
    x = matrix / np.linalg.norm(matrix)
    x = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


def test_muon_orthogonalises_kernels_and_leaves_the_rest_to_adam():
    rate, momentum, b1, b2 = 0.01, 0.9, 0.8, 0.95
    shapes = {
        "conv/kernel": (3, 1, 2, 4, 5),
        "head/feature/kernel": (3, 7),
        "head/classifier/kernel": (3, 7),
        "bias": (4,),
    }
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    gradients = [{name: rng.normal(size=shape) for name, shape in shapes.items()} for _ in range(4)]
    settings = parsed(
        optimizer={
            "name": "muon", "learning_rate": rate, "momentum": momentum, "b1": b1, "b2": b2, "weight_decay": 0.0, "eps": 1e-8,
        }
    )  # fmt: skip
    optimizer = make_optimizer(settings, total_steps=100)
    found = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
    state = optimizer.init(found)
    first, second = ({name: np.zeros(shape) for name, shape in shapes.items()} for _ in range(2))
    for step, grads in enumerate(gradients, 1):
        updates, state = optimizer.update({n: jnp.asarray(g, jnp.float32) for n, g in grads.items()}, state, found)
        found = optax.apply_updates(found, updates)
        for name, gradient in grads.items():
            if name in ("conv/kernel", "head/feature/kernel"):
                first[name] = momentum * first[name] + (1 - momentum) * gradient
                ahead = momentum * first[name] / (1 - momentum ** (step + 1))
                matrix = (ahead + (1 - momentum) * gradient / (1 - momentum**step)).reshape(-1, gradient.shape[-1])
                direction = 0.2 * np.sqrt(max(matrix.shape)) * orthogonalised(matrix).reshape(gradient.shape)
            else:
                first[name] = b1 * first[name] + (1 - b1) * gradient
                second[name] = b2 * second[name] + (1 - b2) * gradient**2
                direction = first[name] / (1 - b1**step) / (np.sqrt(second[name] / (1 - b2**step)) + 1e-8)
            params[name] = params[name] - rate * direction
    for name, value in params.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


def test_a_linear_schedule_falls_from_the_end_of_the_warm_up():
    settings = parsed(schedule={"name": "linear", "warmup_steps": 20, "final_factor": 0.5})
    rate = make_schedule(settings.schedule, 1.0, 100)
    np.testing.assert_allclose([rate(step) for step in (9, 19, 20, 60, 100)], [0.5, 1.0, 1.0, 0.75, 0.5], atol=1e-6)
