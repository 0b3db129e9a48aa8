"""Registration of the builders with TFDS: at once where TFDS is imported already, else when it is.

TFDS knows a builder once its class is defined, which needs TFDS and so a second; a program that only reads a
configuration or cuts a video shall not wait for it, and a program that imports TFDS after this package finds the
builders all the same.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from vreid_jax.datasets import catalog

_TFDS = "tensorflow_datasets"


def register_with_tfds() -> None:
    """Make `tfds.load`, `tfds.data_source` and `tfds build` find the builders."""
    if _TFDS in sys.modules:
        _import_builders()
    else:
        sys.meta_path.insert(0, _TfdsFinder())


def _import_builders() -> None:
    for dataset in catalog.DATASETS.values():
        importlib.import_module(f"{__package__}.{dataset.module}")


class _TfdsFinder(MetaPathFinder):
    """Has the builders imported right after TFDS, once."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target=None) -> ModuleSpec | None:
        if fullname != _TFDS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(_TFDS)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _import_builders()

            spec.loader.exec_module = execute_and_register
        return spec
