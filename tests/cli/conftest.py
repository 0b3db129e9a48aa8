"""The small published datasets of tests/datasets, for the command that prepares them."""

import importlib.util
from pathlib import Path

_FILE = Path(__file__).parents[1] / "datasets" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("published_layouts", _FILE)
_LAYOUTS = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_LAYOUTS)

mars, ilids, prid = _LAYOUTS.mars, _LAYOUTS.ilids, _LAYOUTS.prid
