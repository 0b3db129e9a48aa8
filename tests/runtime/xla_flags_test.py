"""Asking XLA for oneDNN: what is appended to XLA_FLAGS, and when nothing is."""

import platform
import sys

import jaxlib
import pytest

from vreid_jax.runtime import xla_flags
from vreid_jax.runtime.xla_flags import ONEDNN_FLAG


@pytest.fixture
def requested(monkeypatch):
    def request(flags, version=(0, 11, 0), platforms="cpu"):
        monkeypatch.setenv("XLA_FLAGS", flags)
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
        monkeypatch.setattr(jaxlib.version, "__version_info__", version)
        xla_flags.request_onednn()
        return xla_flags.os.environ["XLA_FLAGS"]

    return request


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="oneDNN is in the Linux builds for x86-64"
)
def test_the_flag_is_appended_once(requested):
    assert requested("") == f"{ONEDNN_FLAG}=true"
    both = requested("--xla_cpu_max_isa=AVX2")
    assert both == f"--xla_cpu_max_isa=AVX2 {ONEDNN_FLAG}=true"
    assert requested(both) == both
    assert xla_flags.onednn_requested()


def test_what_the_user_says_stays(requested):
    assert requested(f"{ONEDNN_FLAG}=false") == f"{ONEDNN_FLAG}=false"
    assert not xla_flags.onednn_requested()


@pytest.mark.parametrize("version", [(0, 7, 2), (0, 10, 1)], ids=["aborts", "ignores it"])
def test_versions_that_abort_on_the_flag_or_ignore_it_are_not_given_it(requested, version):
    assert requested("--xla_cpu_max_isa=AVX2", version) == "--xla_cpu_max_isa=AVX2"


def test_plugins_of_accelerators_are_not_given_it(requested, monkeypatch):
    monkeypatch.setattr(xla_flags.importlib.util, "find_spec", lambda name: name == "libtpu" or None)
    assert requested("", platforms="") == ""
