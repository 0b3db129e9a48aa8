"""Where commands keep compiled programs between runs; a process that only imports the library keeps none."""

import hashlib
import os
import platform
from pathlib import Path

import jax

import vreid_jax

VARIABLE = "JAX_COMPILATION_CACHE_DIR"


def cache_folder() -> Path:
    """A folder of this user, this version of the library and of JAX, and this kind of processor.

    Machine code for one processor may not run on another that mounts the same home.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "vreid_jax" / f"{vreid_jax.__version__}-jax{jax.__version__}-{_processor()}"


def use_compilation_cache() -> None:
    """Turns on JAX's persistent cache, unless its variables say where, or that there is none, or oneDNN computes.

    Programs that call oneDNN cannot be written; they run so much faster that compiling them again is the better half.
    """
    from vreid_jax.models.ops.onednn import FLAG

    if VARIABLE in os.environ or os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "").lower() in ("false", "0"):
        return
    if f"{FLAG}=true" in os.environ.get("XLA_FLAGS", ""):
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that cannot be written: every run compiles
        return
    if not os.access(folder, os.W_OK):
        return
    os.environ[VARIABLE] = str(folder)  # for processes that this one starts
    jax.config.update("jax_compilation_cache_dir", str(folder))


def _processor() -> str:
    told = platform.machine() + platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told += "".join(dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features"))))
    except OSError:
        pass
    return f"{platform.machine()}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
