"""The process and its devices: setup, mesh, dtype, several processes, compilation cache, huge pages, XLA's flags."""

from vreid_jax.runtime.process_setup import setup_process

__all__ = ["setup_process"]
