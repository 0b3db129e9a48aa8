"""Asking XLA for oneDNN: what is appended to XLA_FLAGS, and when nothing is."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import jaxlib
import pytest

from vreid_jax.models.ops import onednn

HERE = sys.platform == "linux" and platform.machine() == "x86_64"
KNOWN = HERE and jaxlib.version.__version_info__ >= onednn.SINCE


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


@pytest.mark.slow
@pytest.mark.skipif(not KNOWN, reason="oneDNN is in newer Linux builds for x86-64")
def test_the_door_is_right_with_onednn():
    """The other tests keep what they compile, which excludes it; so conv3d_test once more, in a process of its own."""
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_COMPILATION_CACHE_DIR": ""}
    command = "from vreid_jax.models.layers import onednn; assert onednn.has_onednn()"
    subprocess.run([sys.executable, "-c", command], env=environment, check=True)
    command = [
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).with_name("conv3d_test.py")),
    ]
    subprocess.run([sys.executable, *command], env=environment, check=True)
