"""What the device is, and how fast its matrix products are."""

from __future__ import annotations

import platform
import subprocess

import jax
import jax.numpy as jnp
import numpy as np

from device_parts.measuring import Run, compile_all, median_ms

KINDS = {
    "bfloat16": ("bfloat16", "default"),
    "float16": ("float16", "default"),
    "float32, default precision": ("float32", "default"),
    "float32, highest precision": ("float32", "highest"),
}


def measure(run: Run) -> None:
    """Write the versions, and the rate of a large square product for each dtype."""
    device = jax.devices()[0]
    with run.case("device"):
        memory = (device.memory_stats() or {}).get("bytes_limit", 0) / 1e9
        run.write(
            "device",
            kind=device.device_kind,
            count=jax.device_count(),
            platform=device.platform,
            capability=str(getattr(device, "compute_capability", "")),
            memory_GB=round(memory, 1),
            runtime=" ".join(device.client.platform_version.split()),
            driver=driver(),
            jax=jax.__version__,
            python=platform.python_version(),
        )
    size = 256 if run.smoke else 8192
    rng = np.random.default_rng(0)
    square = rng.standard_normal((size, size), np.float32)
    arguments = {name: jnp.asarray(square, dtype) for name, (dtype, _) in KINDS.items()}

    def lowering(name, precision):
        return lambda: jax.jit(lambda a: jnp.matmul(a, a, precision=precision)).lower(arguments[name])

    programs = compile_all(run, {name: lowering(name, precision) for name, (_, precision) in KINDS.items()})
    for name, compiled in programs.items():
        with run.case(name):
            ms = median_ms(lambda c=compiled, n=name: c.program(arguments[n]))
            run.write(f"matrix product {size}, {name}", ms=round(ms, 3), TFLOPs=round(2 * size**3 / ms / 1e9, 2))
    with run.case("copy"):
        long = jnp.zeros(2**20 if run.smoke else 2**29, jnp.bfloat16)
        ms = median_ms(lambda: copy(long))
        run.write("memory, bytes read and written", ms=round(ms, 3), GBs=round(4 * long.size / ms / 1e6, 1))


@jax.jit
def copy(x):
    """Read and write an array once."""
    return x + 1


def driver() -> str:
    """Return the version of NVIDIA's driver, empty where there is none."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
