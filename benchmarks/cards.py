"""The accelerators that programs are compiled for and compared with: what XLA's compiler asks of them, and their rates.

Rates are those of the makers' data sheets: dense, of the SXM module where there are several; NVIDIA H100, A100, L4 and T4
Tensor Core GPU datasheets, and Google Cloud's page on TPU v5e. Sizes are those that CUDA reports for each card.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What XLA's compiler asks of an NVIDIA GPU; shared memory in bytes."""

    name: str
    capability: tuple[int, int]
    cores: int
    units: int
    threads: int
    clock_ghz: float
    memory: int
    cache: int
    shared_per_core: int
    shared_per_block: int


@dataclasses.dataclass(frozen=True)
class Card:
    """An accelerator.

    Attributes:
      dtype: what `dtype=auto` computes in there, in a run.
      peak: operations of matrix products a second in that dtype.
      bandwidth: bytes of its memory a second.
      gpu: for NVIDIA's.
      topology: of one chip, for Google's.
    """

    dtype: str
    peak: float
    bandwidth: float
    gpu: Gpu | None = None
    topology: str = ""

    @property
    def target_config(self) -> str:
        """The card in XLA's own text format."""
        assert self.gpu is not None
        gpu, (major, minor) = self.gpu, self.gpu.capability
        fields = {
            "threads_per_block_limit": 1024,
            "threads_per_warp": 32,
            "shared_memory_per_block": 49152,
            "shared_memory_per_core": gpu.shared_per_core,
            "threads_per_core_limit": gpu.threads,
            "core_count": gpu.cores,
            "fpus_per_core": gpu.units,
            "block_dim_limit_x": 2**31 - 1,
            "block_dim_limit_y": 65535,
            "block_dim_limit_z": 65535,
            "memory_bandwidth": round(self.bandwidth),
            "l2_cache_size": gpu.cache,
            "clock_rate_ghz": gpu.clock_ghz,
            "device_memory_size": gpu.memory,
            "shared_memory_per_block_optin": gpu.shared_per_block,
            "cuda_compute_capability": f"{{ major: {major} minor: {minor} }}",
            "registers_per_core_limit": 65536,
            "registers_per_block_limit": 65536,
        }
        lines = "\n".join(f"  {key}{'' if str(value)[0] == '{' else ':'} {value}" for key, value in fields.items())
        return (
            f'gpu_device_info {{\n{lines}\n}}\nplatform_name: "CUDA"\ndnn_version_info {{ major: 9 minor: 8 }}\n'
            f'device_description_str: "{gpu.name}"\n'
        )


KIB, MIB = 2**10, 2**20
H100 = Gpu("NVIDIA H100 80GB HBM3", (9, 0), 132, 128, 2048, 1.98, 84942979072, 50 * MIB, 228 * KIB, 227 * KIB)
A100 = Gpu("NVIDIA A100-SXM4-40GB", (8, 0), 108, 64, 2048, 1.41, 42298834944, 40 * MIB, 164 * KIB, 163 * KIB)
L4 = Gpu("NVIDIA L4", (8, 9), 58, 128, 1536, 2.04, 23034 * MIB, 48 * MIB, 100 * KIB, 99 * KIB)
T4 = Gpu("Tesla T4", (7, 5), 40, 64, 1024, 1.59, 15655829504, 4 * MIB, 64 * KIB, 64 * KIB)

CARDS = {
    "h100": Card("bfloat16", 989e12, 3.35e12, H100),
    "a100": Card("bfloat16", 312e12, 1.555e12, A100),
    "l4": Card("bfloat16", 121e12, 0.3e12, L4),
    "t4": Card("float16", 65e12, 0.32e12, T4),
    "v5e": Card("bfloat16", 197e12, 0.819e12, topology="v5e:1x1x1"),
}
