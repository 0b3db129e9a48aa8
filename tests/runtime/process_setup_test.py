"""Setting up a process: what `setup_process` changes, each time in a process of its own."""

import json
import os
import platform
import subprocess
import sys

import jaxlib
import pytest

from vreid_jax.runtime.compilation_cache import VARIABLE
from vreid_jax.runtime.xla_flags import ONEDNN_FLAG, ONEDNN_SINCE

HAS_FLAG = (
    sys.platform == "linux" and platform.machine() == "x86_64" and jaxlib.version.__version_info__ >= ONEDNN_SINCE
)
CODE = """
import json, os, sys
{before}
from vreid_jax.runtime import setup_process
setup_process()
setup_process()  # a second call adds nothing
imported = "jax" in sys.modules
import jax
names = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
print(json.dumps([imported, {{name: os.environ.get(name) for name in names}}, jax.config.jax_compilation_cache_dir]))
"""


@pytest.fixture
def set_up(tmp_path):
    """Call `setup_process` in a new process; return whether JAX was imported, the variables, and JAX's cache folder."""

    def run(before="", **variables):
        inherited = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", VARIABLE)}
        environment = {**inherited, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path), **variables}
        command = [sys.executable, "-c", CODE.format(before=before)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return run


@pytest.mark.skipif(not HAS_FLAG, reason="oneDNN is in newer Linux builds for x86-64")
def test_on_cpu_oneDNN_is_requested_before_jax_is_imported_and_nothing_is_kept(set_up, tmp_path):
    imported, variables, folder = set_up()
    assert not imported
    assert variables == {"XLA_FLAGS": f"{ONEDNN_FLAG}=true", VARIABLE: None}
    assert not folder
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("before", ["", "import jax"], ids=["before JAX is imported", "after"])
def test_without_oneDNN_compiled_programs_are_kept(set_up, tmp_path, before):
    imported, variables, folder = set_up(before, XLA_FLAGS=f"{ONEDNN_FLAG}=false" if HAS_FLAG else "")
    assert imported == bool(before)
    assert folder
    assert folder == variables[VARIABLE]
    assert folder.startswith(str(tmp_path / "vreid_jax"))
    assert ONEDNN_FLAG not in variables["XLA_FLAGS"].replace(f"{ONEDNN_FLAG}=false", "")


@pytest.mark.parametrize("by", ["variable", "option"])
def test_who_has_chosen_a_cache_keeps_it_and_gets_no_oneDNN(set_up, tmp_path, by):
    mine = str(tmp_path / "mine")
    before = f"import jax; jax.config.update('jax_compilation_cache_dir', {mine!r})" if by == "option" else ""
    _, variables, folder = set_up(before, **({VARIABLE: mine} if by == "variable" else {}))
    assert folder == mine
    assert variables == {"XLA_FLAGS": None, VARIABLE: mine if by == "variable" else None}
