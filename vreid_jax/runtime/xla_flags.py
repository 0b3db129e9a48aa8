"""XLA's flags: asking for oneDNN behind the 3-D convolutions on CPU, which then run three to five times faster.

XLA reads the flag once, when the first computation is compiled; `models.ops.onednn.has_onednn` finds out whether it
then calls oneDNN.
"""

import importlib.util
import os
import platform
import sys

import jaxlib.version

ONEDNN_FLAG = "--xla_cpu_experimental_onednn_custom_call"
ONEDNN_SINCE = (0, 11)  # jaxlib 0.8 to 0.10 take the flag and never call oneDNN, earlier ones abort on it
ACCELERATORS = ("libtpu", "jax_plugins")


def request_onednn() -> None:
    """Append oneDNN's flag to XLA_FLAGS, where this JAX obeys it and it can be of use.

    It has no effect once anything has been computed. What XLA_FLAGS holds stays, a value of this flag included.
    Nothing is added where the plugin of an accelerator is installed, which may not know the flag, unless JAX_PLATFORMS
    is "cpu".
    """
    flags = os.environ.get("XLA_FLAGS", "")
    only_cpu = os.environ.get("JAX_PLATFORMS") == "cpu" or not any(map(importlib.util.find_spec, ACCELERATORS))
    obeyed = (
        sys.platform == "linux" and platform.machine() == "x86_64" and jaxlib.version.__version_info__ >= ONEDNN_SINCE
    )
    if obeyed and only_cpu and ONEDNN_FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {ONEDNN_FLAG}=true".strip()


def onednn_requested() -> bool:
    """Return whether XLA_FLAGS asks for oneDNN."""
    return f"{ONEDNN_FLAG}=true" in os.environ.get("XLA_FLAGS", "")
