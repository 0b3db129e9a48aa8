"""Where commands keep compiled programs between runs; a process that only imports the library keeps none."""

import hashlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import jaxlib.version

import vreid_jax
from vreid_jax.runtime.xla_flags import onednn_requested

VARIABLE = "JAX_COMPILATION_CACHE_DIR"
# Earlier versions log kilobytes of errors for every program from the cache, about features of the processor that they
# made up themselves. What goes wrong in earnest is an exception.
QUIET_SINCE = (0, 11)
LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def cache_folder() -> Path:
    """Return a folder of this user, this version of the library and of JAX, and this kind of processor.

    Machine code for one processor may not run on another that mounts the same home.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    name = f"{vreid_jax.__version__}-jax{importlib.metadata.version('jax')}-{_processor()}"
    return Path(base).expanduser() / "vreid_jax" / name


def chosen_folder() -> str:
    """Return the cache folder that JAX has been given, by its variable or in this process; empty if none."""
    jax = sys.modules.get("jax")
    return os.environ.get(VARIABLE) or (jax and jax.config.jax_compilation_cache_dir) or ""


def use_compilation_cache() -> None:
    """Turn on JAX's persistent cache, unless its settings say where, or that there is none, or oneDNN computes.

    Programs that call oneDNN cannot be written to it; they run so much faster that compiling them again is worth it.
    """
    disabled = os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "").lower() in ("false", "0")
    if VARIABLE in os.environ or chosen_folder() or disabled or onednn_requested():
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that cannot be written: every run compiles
        return
    if not os.access(folder, os.W_OK):
        return
    os.environ[VARIABLE] = str(folder)  # read when JAX is imported, here and in processes that this one starts
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_compilation_cache_dir", str(folder))
    if jaxlib.version.__version_info__ < QUIET_SINCE:
        os.environ.setdefault(LOG_LEVEL, "3")  # read, too, when JAX is imported


def _processor() -> str:
    """Return the machine's architecture and a digest of the processor's name and features."""
    description = platform.machine() + platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = (line for line in lines if line.startswith(("model name", "flags", "Features")))
        description += "".join(dict.fromkeys(features))
    except OSError:
        pass
    return f"{platform.machine()}-{hashlib.sha256(description.encode()).hexdigest()[:8]}"
