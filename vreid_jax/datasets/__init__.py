"""TFDS builders of video re-identification data; importing this package registers them with TFDS.

It imports no JAX, no TensorFlow, and TFDS itself, which takes a second, only when somebody asks for a dataset.
"""

from typing import TYPE_CHECKING, Any

from vreid_jax.datasets import registration

if TYPE_CHECKING:
    from vreid_jax.datasets.loading import load_builder

__all__ = ["load_builder"]

registration.register_with_tfds()


def __getattr__(name: str) -> Any:
    if name == "load_builder":
        from vreid_jax.datasets.loading import load_builder

        return load_builder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
