"""Registration of the builders with TFDS: at once if TFDS is imported already, else as soon as it is.

TFDS knows a builder once its class is defined, and importing TFDS takes more than a second. A program that only reads a
configuration or cuts a video should not wait for that, and a program that imports TFDS after this package must find the
builders all the same.
"""

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from vreid_jax.datasets import catalog

_TFDS = "tensorflow_datasets"


def register_with_tfds() -> None:
    """Make `tfds.load`, `tfds.data_source` and `tfds build` find the builders."""
    if _TFDS in sys.modules:
        import_builders()
    else:
        sys.meta_path.insert(0, _TfdsFinder())


def import_builders() -> None:
    """Import the module of every builder, which registers it."""
    for dataset in catalog.DATASETS.values():
        importlib.import_module(f"{__package__}.{dataset.module}")


class _TfdsFinder(MetaPathFinder):
    """Imports the builders right after TFDS; until then, TFDS may be asked for without an import."""

    def __init__(self):
        self._asking = threading.local()

    def find_spec(
        self, fullname: str, path: Iterable[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _TFDS or getattr(self._asking, "others", False):
            return None
        self._asking.others = True
        try:
            spec = importlib.util.find_spec(_TFDS)
        finally:
            self._asking.others = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                # An inner module that imports TFDS itself is not ready for the builders; `loading` registers them then.
                if not _any_inner_module_is_being_imported():
                    import_builders()

            spec.loader.exec_module = execute_and_register
        return spec


def _any_inner_module_is_being_imported() -> bool:
    return any(
        getattr(getattr(module, "__spec__", None), "_initializing", False)
        for name, module in list(sys.modules.items())
        if name.startswith(f"{__package__}.")
    )
