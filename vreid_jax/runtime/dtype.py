"""The dtype that suits the device."""

import jax

from vreid_jax.errors import InputError

DTYPES = ("auto", "float32", "bfloat16", "float16")


def compute_dtype(wanted: str, trains: bool = False) -> str:
    """Resolve `auto`: bfloat16 on TPU and on NVIDIA's GPUs from Ampere on, else float32.

    Volta and Turing, such as the T4, have no bfloat16 convolutions: there a run trains in float16, whose losses are
    scaled and whose features are checked, while a model that only embeds stays in float32.

    Args:
      wanted: one of `DTYPES`.
      trains: whether it is for a run, which checks that losses and features are finite.

    Raises:
      InputError: when `wanted` is something else.
    """
    if wanted not in DTYPES:
        raise InputError(f"dtype is {wanted!r}; it is one of {', '.join(DTYPES)}")
    if wanted != "auto":
        return wanted
    device = jax.devices()[0]
    # "8.0" on Ampere; another maker's GPU has a name in its place, "gfx942" for example.
    generation = str(getattr(device, "compute_capability", "")).partition(".")[0]
    nvidia = int(generation) if device.platform == "gpu" and generation.isdecimal() else 0
    if device.platform == "tpu" or nvidia >= 8:
        return "bfloat16"
    return "float16" if trains and nvidia == 7 else "float32"
