"""What every test runs under: strict shapes, strict promotion, four virtual CPU devices, no network and no GPU."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

from jaxtyping import install_import_hook

install_import_hook("vreid_jax", "beartype.beartype").__enter__()

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", autouse=True)
def _parsed_flags():
    # Grain's workers read absl flags, which exist only once somebody has parsed them.
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["pytest"])
