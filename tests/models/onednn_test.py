"""Asking XLA for oneDNN: what is appended to XLA_FLAGS, and when nothing is."""

import platform
import sys

import jax
import jaxlib
import pytest

from vreid_jax.models.layers import onednn

HERE = sys.platform == "linux" and platform.machine() == "x86_64"


@pytest.fixture
def requested(monkeypatch):
    def request(flags, version=(0, 8, 0), platforms="cpu", cache=""):
        monkeypatch.setenv("XLA_FLAGS", flags)
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", cache)
        monkeypatch.setattr(jaxlib.version, "__version_info__", version)
        onednn.request_onednn()
        return onednn.os.environ["XLA_FLAGS"]

    return request


@pytest.mark.skipif(not HERE, reason="oneDNN is in the Linux builds for x86-64")
def test_the_flag_is_appended_once(requested):
    assert requested("") == f"{onednn.FLAG}=true"
    both = requested("--xla_cpu_max_isa=AVX2")
    assert both == f"--xla_cpu_max_isa=AVX2 {onednn.FLAG}=true"
    assert requested(both) == both


def test_what_the_user_says_stays(requested):
    assert requested(f"{onednn.FLAG}=false") == f"{onednn.FLAG}=false"


def test_versions_that_abort_on_the_flag_are_not_given_it(requested):
    assert requested("--xla_cpu_max_isa=AVX2", version=(0, 7, 2)) == "--xla_cpu_max_isa=AVX2"


def test_plugins_of_accelerators_are_not_given_it(requested, monkeypatch):
    monkeypatch.setattr(onednn.importlib.util, "find_spec", lambda name: name == "libtpu" or None)
    assert requested("", platforms="") == ""


def test_who_keeps_compiled_programs_is_not_given_it(requested):
    assert requested("", cache="/kept") == ""


@pytest.mark.skipif(not HERE, reason="oneDNN is in the Linux builds for x86-64")
def test_convolutions_go_to_onednn_where_the_flag_is():
    version = tuple(int(part) for part in jax.__version__.split(".")[:2])
    assert onednn.has_onednn() == (version >= onednn.SINCE)
