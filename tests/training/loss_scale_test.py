"""Steps of a network in float16: the scale leaves no trace where gradients are finite, and skips steps where not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vreid_jax import config
from vreid_jax.config.phases import Phase
from vreid_jax.runtime.mesh import make_mesh, put_batch, replicate
from vreid_jax.training.loss_scale import LARGEST, NAME, STEPS_TO_GROW, new_loss_scale
from vreid_jax.training.network import Network
from vreid_jax.training.optimizers import make_optimizer
from vreid_jax.training.state import TrainState, split_params
from vreid_jax.training.step import make_train_step


class Half(nn.Module):
    """A hidden layer in float16; the loss behind it is float32."""

    dtype: str = "float16"

    @nn.compact
    def __call__(self, clips, train=False):
        hidden = nn.Dense(6, dtype=self.dtype, name="hidden")(clips.mean((1, 2, 3)))
        return {"feature": hidden, "logits": nn.Dense(4, name="classifier")(hidden.astype(jnp.float32))}


def batch():
    frames = np.random.default_rng(0).integers(0, 256, (8, 2, 8, 4, 3), dtype=np.uint8)
    return {"frames": frames, "label": np.repeat(np.arange(4, dtype=np.int32), 2)}


def step(scale, finite_steps=0, module=None, **changes):
    """One step from the same start; `scale` None for none. Returns the state before and after."""
    module = module or Half()
    phase = Phase.parse(config.phase(batch_size=8, total_steps=1, **changes))
    mesh = make_mesh(jax.devices()[:1])
    variables = module.init(jax.random.key(0), jnp.zeros((1, 2, 8, 4, 3)))
    optimizer = make_optimizer(phase, 1)
    extra = {}
    if scale is not None:
        extra[NAME] = new_loss_scale() | {"scale": jnp.float32(scale), "finite_steps": jnp.int32(finite_steps)}
    state = TrainState(
        step=jnp.int32(0),
        params=variables["params"],
        batch_stats={},
        opt_state=optimizer.init(split_params(variables["params"], phase.train)[0]),
        extra=extra,
    )
    before = jax.device_get(state)
    take = make_train_step(Network(module, (0.5,) * 3, (0.2,) * 3), phase, optimizer, mesh)
    after, metrics = take(0, replicate(state, mesh), put_batch(batch(), mesh))
    return before, jax.device_get(after), jax.device_get(metrics)


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_a_scaled_step_in_float32_is_the_step(accumulation_steps):
    module = Half("float32")
    _, plain, said = step(None, module=module, accumulation_steps=accumulation_steps)
    _, scaled, told = step(2.0**10, module=module, accumulation_steps=accumulation_steps)
    for found, expected in ((scaled.params, plain.params), (told, said)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected)
    assert scaled.extra[NAME] == {"scale": 2.0**10, "finite_steps": 1}


def test_a_small_gradient_survives_in_float16_by_its_scale():
    small = {"losses": {"softmax": {"weight": 1e-6}}, "optimizer": {"learning_rate": 1e6, "weight_decay": 0.0}}
    _, exact, _ = step(None, module=Half("float32"), **small)
    before, lost, _ = step(None, **small)
    _, kept, _ = step(2.0**15, **small)
    wanted, plain, found = (
        state.params["hidden"]["kernel"] - before.params["hidden"]["kernel"] for state in (exact, lost, kept)
    )
    np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.02 * abs(wanted).max())
    assert abs(plain - wanted).max() > 0.1 * abs(wanted).max()


def test_a_step_whose_gradient_overflows_is_skipped_and_the_scale_halved():
    before, after, metrics = step(2.0**24)
    for name in ("params", "batch_stats", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(before, name))
    assert after.step == 1
    assert after.extra[NAME] == {"scale": 2.0**23, "finite_steps": 0}
    assert np.isfinite(metrics["loss"])
    assert not np.isfinite(metrics["gradient_norm"])


def test_a_gradient_that_overflows_at_the_smallest_scale_ends_the_run():
    huge = {"losses": {"softmax": {"weight": 1e12}}}
    _, _, metrics = step(2.0, **huge)
    assert np.isfinite(metrics["loss"])
    _, after, metrics = step(1.0, **huge)
    assert np.isnan(metrics["loss"])  # the loop says so and stops
    assert after.extra[NAME]["scale"] == 1.0


@pytest.mark.parametrize(("scale", "grown"), [(2.0**12, 2.0**13), (LARGEST, LARGEST)])
def test_the_scale_grows_after_many_finite_steps(scale, grown):
    module = Half("float32")
    _, after, _ = step(scale, STEPS_TO_GROW - 1, module=module)
    assert after.extra[NAME] == {"scale": grown, "finite_steps": 0}
