"""The convolution door against the native operation and a direct sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vreid_jax.models.ops import conv3d as door
from vreid_jax.models.ops import conv3d_gradients, gpu
from vreid_jax.models.ops.conv3d import conv3d

# (input T H W C), kernel (kt kh kw), features, strides, padding, dilation
CASES = {
    "point": ((3, 4, 3, 5), (1, 1, 1), 4, (1, 1, 1), (0, 0, 0), (1, 1, 1)),
    "point strided": ((5, 6, 5, 3), (1, 1, 1), 4, (2, 2, 2), (0, 0, 0), (1, 1, 1)),
    "spatial": ((2, 6, 5, 3), (1, 3, 3), 4, (1, 1, 1), (0, 1, 1), (1, 1, 1)),
    "spatial strided": ((3, 8, 6, 3), (1, 7, 7), 4, (1, 2, 2), (0, 3, 3), (1, 1, 1)),
    "spatial smaller than the kernel": ((2, 4, 2, 3), (1, 3, 3), 4, (1, 1, 1), (0, 1, 1), (1, 1, 1)),
    "spatial strided to smaller": ((2, 7, 4, 3), (1, 3, 3), 4, (1, 2, 2), (0, 1, 1), (1, 1, 1)),
    "spatial dilated": ((2, 5, 5, 3), (1, 3, 3), 4, (1, 1, 1), (0, 1, 1), (1, 2, 1)),
    "temporal": ((8, 3, 2, 4), (3, 1, 1), 4, (1, 1, 1), (1, 0, 0), (1, 1, 1)),
    "temporal dilated": ((8, 3, 2, 4), (3, 1, 1), 4, (1, 1, 1), (3, 0, 0), (3, 1, 1)),
    "temporal dilated strided": ((8, 3, 2, 4), (3, 1, 1), 4, (2, 1, 1), (2, 0, 0), (2, 1, 1)),
    "temporal odd": ((7, 3, 2, 4), (3, 1, 1), 4, (2, 1, 1), (2, 0, 0), (2, 1, 1)),
    "full": ((4, 5, 4, 3), (3, 3, 3), 4, (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "full strided": ((6, 7, 6, 3), (3, 3, 3), 4, (2, 2, 2), (1, 1, 1), (1, 1, 1)),
    "full dilated": ((6, 7, 6, 3), (3, 3, 3), 2, (1, 1, 2), (2, 1, 2), (2, 1, 2)),
    "stride over dilation": ((7, 9, 8, 2), (3, 3, 2), 3, (2, 3, 2), (2, 3, 1), (3, 2, 2)),
    "stride over the kernel": ((5, 7, 7, 3), (2, 2, 1), 2, (3, 3, 2), (0, 1, 0), (1, 1, 1)),
    "strided both ways": ((8, 9, 7, 2), (1, 3, 3), 3, (2, 2, 2), (0, 1, 1), (1, 1, 1)),
    "padded beyond the kernel": ((2, 3, 3, 2), (2, 1, 3), 2, (2, 1, 2), (2, 1, 3), (1, 1, 1)),
}


# The form that GPUs take, and the one of CPUs without oneDNN, are those of the slow tests for the other cases.
FEW = ("point strided", "spatial strided", "temporal dilated", "full strided", "stride over dilation")
MARKED = [case if case in FEW else pytest.param(case, marks=pytest.mark.slow) for case in CASES]

# Machine code that is not optimised compiles several times faster; the sums are the same.
QUICK = {"xla_backend_optimization_level": 0}


@pytest.fixture(scope="class")
def folded():
    """What the door does on CPU where XLA has no oneDNN; for a whole class, as everything traced before is forgotten."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(door, "has_onednn", lambda: False)
        jax.clear_caches()
        yield
    jax.clear_caches()


def arguments(case):
    size, taps, features, strides, padding, dilation = CASES[case]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *size)).astype(np.float32)
    kernel = rng.standard_normal((*taps, size[-1], features)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(kernel), strides, tuple((p, p) for p in padding), dilation


def native(x, kernel, strides, padding, dilation):
    return lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )


def direct(x, kernel, strides, padding, dilation):
    """The sum as it is written in textbooks, in float64."""
    x = np.pad(np.asarray(x, np.float64), ((0, 0), *padding, (0, 0)))
    kernel = np.asarray(kernel, np.float64)
    size = [(x.shape[a + 1] - (kernel.shape[a] - 1) * dilation[a] - 1) // strides[a] + 1 for a in range(3)]
    y = np.zeros((len(x), *size, kernel.shape[-1]))
    for out in np.ndindex(*size):
        for tap in np.ndindex(*kernel.shape[:3]):
            t, h, w = (o * s + k * d for o, s, k, d in zip(out, strides, tap, dilation, strict=True))
            y[(slice(None), *out)] += x[:, t, h, w] @ kernel[tap]
    return y


@pytest.mark.parametrize("case", CASES)
def test_value_is_the_direct_sum(case, xla_as_users_have_it):
    x, kernel, *rest = arguments(case)
    expected = direct(x, kernel, *rest)
    np.testing.assert_allclose(conv3d(x, kernel, *rest), expected, atol=2e-5)
    np.testing.assert_allclose(
        jax.jit(lambda x, k: conv3d(x, k, *rest), compiler_options=xla_as_users_have_it)(x, kernel), expected, atol=2e-5
    )


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_native_convolution(case):
    check_gradients(case)


def check_gradients(case):
    x, kernel, *rest = arguments(case)

    def gradients(f):
        return jax.jit(jax.grad(lambda x, k: jnp.sin(f(x, k, *rest)).sum(), argnums=(0, 1)), compiler_options=QUICK)(
            x, kernel
        )

    for ours, expected in zip(gradients(conv3d), gradients(native), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours / scale, expected / scale, atol=1e-5)


@pytest.mark.parametrize("case", MARKED)
def test_what_gpus_compute_is_the_direct_sum_and_has_its_gradients(case):
    """A sum is the same on any platform."""
    x, kernel, *rest = arguments(case)
    y = jax.jit(lambda x, k: gpu.convolution(x, k, *rest), compiler_options=QUICK)(x, kernel)
    np.testing.assert_allclose(y, direct(x, kernel, *rest), atol=2e-5)
    g = jnp.cos(y)
    found = jax.jit(lambda x, k, g: gpu.gradients(x, k, g, *rest), compiler_options=QUICK)(x, kernel, g)
    expected = jax.jit(lambda x, k, g: jax.vjp(lambda x, k: native(x, k, *rest), x, k)[1](g), compiler_options=QUICK)(
        x, kernel, g
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours / np.abs(theirs).max(), theirs / np.abs(theirs).max(), atol=1e-5)


@pytest.mark.usefixtures("folded")
class TestWithoutOneDNN:
    @pytest.mark.parametrize("case", MARKED)
    def test_value(self, case):
        x, kernel, *rest = arguments(case)
        found = jax.jit(lambda x, k: conv3d(x, k, *rest), compiler_options=QUICK)(x, kernel)
        np.testing.assert_allclose(found, direct(x, kernel, *rest), atol=2e-5)

    @pytest.mark.parametrize("case", ["spatial strided", "full", "stride over dilation"])
    def test_gradients(self, case):
        check_gradients(case)

    @pytest.mark.parametrize("case", ["spatial strided", "strided both ways", "full", "stride over dilation"])
    def test_large_kernels_have_their_gradient_in_parts_too(self, case, monkeypatch):
        monkeypatch.setattr(door, "LARGE", 0)
        monkeypatch.setattr(conv3d_gradients, "ROWS_AT_ONCE", 1)
        jax.clear_caches()
        check_gradients(case)
        jax.clear_caches()


def test_jit_of_a_broadcast_mean_times_a_small_product(xla_as_users_have_it):
    # jaxlib 0.10.2 computes this wrong on CPU under jit, 100 % off, and it is the heart of residual attention.
    rng = np.random.default_rng(0)
    x, h, w = (rng.standard_normal(shape).astype(np.float32) for shape in [(8, 8, 16, 8, 64), (8, 16), (16, 8)])

    def pattern(x, h, w):
        return x.mean(1)[:, None] * (h @ w)[:, :, None, None, None]

    expected = x.astype(np.float64).mean(1)[:, None] * (h.astype(np.float64) @ w)[:, :, None, None, None]
    np.testing.assert_allclose(pattern(*map(jnp.asarray, (x, h, w))), expected, atol=1e-5)
    np.testing.assert_allclose(jax.jit(pattern, compiler_options=xla_as_users_have_it)(x, h, w), expected, atol=1e-5)
