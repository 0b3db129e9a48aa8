"""The dtype that suits the device."""

import jax

from vreid_jax.errors import InputError


def compute_dtype(wanted: str) -> str:
    """Resolve `auto`: bfloat16 on TPU and on NVIDIA's GPUs from Ampere on, else float32 (a T4 has no bfloat16 convolutions).

    Raises:
      InputError: when `wanted` is not one of auto, float32, bfloat16.
    """
    if wanted not in ("auto", "float32", "bfloat16"):
        raise InputError(f"dtype is {wanted!r}; it is one of auto, float32, bfloat16")
    if wanted != "auto":
        return wanted
    device = jax.devices()[0]
    # "8.0" on Ampere; another maker's GPU has a name in its place, "gfx942" for example.
    generation = str(getattr(device, "compute_capability", "")).partition(".")[0]
    capable = device.platform == "tpu" or (device.platform == "gpu" and generation.isdecimal() and int(generation) >= 8)
    return "bfloat16" if capable else "float32"
