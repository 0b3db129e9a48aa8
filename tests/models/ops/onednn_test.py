"""Whether XLA calls oneDNN is found out on any platform; where it does, the convolutions and the attention are right."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import jaxlib
import pytest

from vreid_jax.runtime.xla_flags import ONEDNN_FLAG, ONEDNN_SINCE

OBEYED = sys.platform == "linux" and platform.machine() == "x86_64" and jaxlib.version.__version_info__ >= ONEDNN_SINCE
MODELS = Path(__file__).parents[1]


# A registry as JAX_PLATFORMS=cuda or tpu leaves it: it has one backend, and that is not called cpu.
ONLY_AN_ACCELERATOR = """
import jax
from jax.extend.backend import register_backend_factory
from jaxlib import xla_client
register_backend_factory("accelerator", xla_client.make_cpu_client, priority=500)
jax.config.update("jax_platforms", "accelerator")
try:
    jax.devices("cpu")
except RuntimeError:
    from vreid_jax.models.ops.conv3d import conv3d
    from vreid_jax.models.ops.onednn import has_onednn
    import jax.numpy as jnp
    print(has_onednn(), conv3d(jnp.ones((1, 3, 3, 3, 2)), jnp.ones((3, 3, 3, 2, 1))).item())
"""


def test_without_a_cpu_backend_there_is_no_onednn_and_convolutions_run():
    command = [sys.executable, "-c", ONLY_AN_ACCELERATOR]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "54.0"]


@pytest.mark.slow
@pytest.mark.skipif(not OBEYED, reason="oneDNN is in newer Linux builds for x86-64")
def test_convolutions_and_attention_are_right_with_onednn():
    """The other tests keep what they compile, which excludes it; so theirs once more, in a process of its own."""
    environment = {**os.environ, "XLA_FLAGS": f"{ONEDNN_FLAG}=true", "JAX_COMPILATION_CACHE_DIR": ""}
    command = "from vreid_jax.models.ops import onednn; assert onednn.has_onednn()"
    subprocess.run([sys.executable, "-c", command], env=environment, check=True)
    tests = [MODELS / "ops" / "conv3d_test.py", f"{MODELS / 'non_local_test.py'}::test_never_holds_the_whole_attention"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *map(str, tests)]
    subprocess.run(command, env=environment, check=True)
